# Every target that needs .venv creates it first; see README.md.

VENV := .venv
BIN := $(VENV)/bin
# The first Python found for which TensorFlow and Keras have wheels; `make PYTHON=/path/to/python` selects another one.
PYTHON ?= $(shell for python in python3.12 python3.13 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)

.PHONY: install sweep test test-slow cluster-test simulate drill drill-ray drill-resume soak fuzz mutation bench lint check format settings constraints pins clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; install one, or give its path: make PYTHON=/path/to/python" >&2; exit 2; }
	test -x $(BIN)/pip || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c 'from rnnexp.model.kernel.recurrence import warm_up_all; warm_up_all()'  # compiles the kernels now instead of in the first sweep
	@touch $@

# Runs a small study on IMDB: a few minutes.
sweep: install
	$(BIN)/rnnexp sweep sweeps/quickstart.yaml

# Runs all tests except the slow ones: those without TensorFlow on all cores, then the others one after another.
test: install
	$(BIN)/python -m pytest -q -n auto -m "not tensorflow and not slow"
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "tensorflow and not slow"

# Runs the tests that take minutes each.
test-slow: install
	$(BIN)/python -m pytest -m slow

# Injects more than a hundred faults into real sweeps and reports what survived: about twenty-five minutes on two cores; Linux.
drill: install
	$(BIN)/python -m tests.drill --faults 120 --seed 0

# Injects 48 faults into sweeps on a Ray cluster of this machine, then moves twelve trials: about twenty minutes on two cores; Linux.
drill-ray: install
	$(BIN)/python -m tests.drill.on_ray
	$(BIN)/python -m tests.drill.on_ray --moves

# Kills and resumes twenty trials, and compares their weights with those of a run without faults.
drill-resume: install
	$(BIN)/python -m tests.drill --resume-check 20 --seed 0

# Runs a study of thirty trials on Ray, PostgreSQL, MLflow's server with passwords and S3, while parts of it fail: ten minutes.
cluster-test: install
	$(BIN)/python -m pytest -q -s -m slow tests/cluster

# Gives every reader of files damaged and hostile input for twenty minutes; cases with a fault are written to build/fuzz/.
fuzz: install
	$(BIN)/python -m tests.fuzz --minutes 20 --seed 0

# Checks the style and the types.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The quick checks during development: no TensorFlow, no server.
check: lint
	$(BIN)/python -m pytest -q -n auto -m "not tensorflow and not slow and not integration"

# Simulates ten thousand sweeps in virtual time, with faults at every step: minutes. Options: `python -m tests.simulation --help`.
simulate: install
	$(BIN)/python -m tests.simulation --sweeps 10000
	$(BIN)/python -m tests.simulation --planted

# Runs 10,000 instant trials and 300 small ones and checks that nothing leaks: about half an hour on two cores; Linux.
soak: install
	$(BIN)/python -m tests.soak

# Changes 200 places of each of three packages, one at a time, and reports which changes no test noticed: 40 minutes.
mutation: install
	nice $(BIN)/python -m tests.mutation

# Runs all benchmarks: an hour on two cores, on a machine without other load. See tests/benchmarks/README.md.
bench: install build/rivals/.installed
	$(BIN)/python -m tests.benchmarks

# Installs the rivals of the benchmark `rivals` into their own environment.
build/rivals/.installed: tests/benchmarks/rivals/requirements.txt constraints.txt
	test -x build/rivals/bin/pip || { rm -rf build/rivals; $(PYTHON) -m venv build/rivals; }
	build/rivals/bin/python -m pip install --quiet --constraint constraints.txt --requirement $<
	@touch $@

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes the reference of all settings from the configuration's own models.
settings: install
	mkdir -p build
	$(BIN)/python -m rnnexp.config.reference > build/settings.md
	mv build/settings.md docs/settings.md

# Updates the pins in constraints.txt to the versions to which pyproject.toml's ranges resolve today.
constraints:
	rm -rf build/pins && $(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet '.[dev]'
	{ sed -n '/^#/p' constraints.txt; build/pins/bin/python -m pip freeze --exclude rnnexp; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/pins

# Updates the requirements of the Docker images to the pins in constraints.txt, with the hashes of the wheels for both
# processors. Needs the Python of the images (PIN_PYTHON), because the packages depend on its version.
PIN_PYTHON ?= python3.12
CLUSTER := .[ray,postgres,server]
SERVE := fastapi numpy onnxruntime psutil pydantic PyYAML uvicorn
pins:
	mkdir -p build
	$(call pin,requirements.txt,.)
	$(call pin,requirements-cluster.txt,'$(CLUSTER)')
	$(call pin,requirements-serve.txt,$(SERVE))

define pin
	$(PIN_PYTHON) -m pip install --quiet --dry-run --ignore-installed --only-binary :all: --constraint constraints.txt \
		--report build/pins-x86_64.json 'setuptools>=77' wheel $(2)
	$(PIN_PYTHON) docker/pins.py build/pins-x86_64.json | sed 's/ \\$$//; /--hash/d' > build/pins.txt
	$(PIN_PYTHON) -m pip install --quiet --dry-run --ignore-installed --only-binary :all: --no-deps --requirement build/pins.txt \
		--target build/pins --python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none \
		$(foreach tag,manylinux_2_36 manylinux_2_34 manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_17 manylinux2014,--platform $(tag)_aarch64) \
		--report build/pins-aarch64.json
	$(PIN_PYTHON) docker/pins.py build/pins-x86_64.json build/pins-aarch64.json > build/$(1)
	mv build/$(1) docker/$(1)
endef

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
