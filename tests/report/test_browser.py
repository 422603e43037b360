"""The report in a real browser: it filters, marks, changes its theme, at a desk and on a phone, without an error."""

import http.server
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rnnexp.analysis import report
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration

SWEEP = """
# Which cell and size classify best?
#
# A second paragraph, which is not part of the question.
study: s
sampler: {name: random, seed: 3}
pruner: {name: hyperband, min_resource: 2}
budget: {trials: 60}
base: {data: {name: reviews}, train: {epochs: 6}}
space:
  model.cell: {choice: [gru, lstm, simple_rnn]}
  model.units: {int: [8, 64]}
  model.dropout: {float: [0, 0.5]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.1, 10], log: true, when: {clip.kind: [norm]}}
"""
SIZES = ((1280, 900), (390, 844))


def accuracy(job: Any, epoch: int) -> float:
    start = {"gru": 0.6, "lstm": 0.62, "simple_rnn": 0.55}[job.config.model.cell]
    return start + 0.002 * job.config.model.units + 0.02 * epoch - 0.1 * job.config.model.dropout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = Study(tmp_path_factory.mktemp("study"))
    study.file.write_text(SWEEP)
    study.home.study("s").root.mkdir(parents=True)
    study.home.study("s").sweep.write_text(study.config().to_yaml())
    executor = FakeExecutor(accuracy=accuracy)
    executor.grad_norm = lambda job, epoch: 2 / epoch
    study.run(executor)
    assert study.view.count(State.PRUNED) > 3
    path = study.home.root / "report.html"
    report.write_html(study.home, [study.view], path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver")
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or program is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield started
    started.quit()


def wait_until_ready(browser: Any) -> None:
    """Waits until the page has drawn itself; a driver can return before, when it loads the same address again."""
    deadline = time.monotonic() + 20
    while browser.execute_script("return document.documentElement.dataset.ready") != "true":
        assert time.monotonic() < deadline, "the page is not ready"
        time.sleep(0.02)


class Page:
    """The opened report."""

    def __init__(self, browser: Any, address: str, size: tuple[int, int]) -> None:
        self._browser = browser
        browser.get_log("browser")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(address)
        wait_until_ready(browser)
        self("drawAll()")

    def __call__(self, script: str, *arguments: Any) -> Any:
        return self._browser.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self._browser.find_element("css selector", selector)

    def rows(self) -> list[int]:
        """The trials of the leaderboard, in the order that is shown."""
        script = "return [...document.querySelectorAll('.leaderboard tbody tr')].map((row) => +row.dataset.trial)"
        return list(self(script))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self._browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(params=SIZES, ids=["desk", "phone"])
def opened(browser: Any, page: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    found = Page(browser, page.as_uri(), request.param)
    yield found
    assert found.errors() == []


def test_it_answers_the_question_first(opened: Page) -> None:
    text = opened("return document.getElementById('report').innerText")
    assert text.index("Which cell and size classify best?") < text.index("has the best val_accuracy")
    assert text.index("has the best val_accuracy") < text.index("Leaderboard")
    assert "A second paragraph" not in text


def test_every_picture_is_drawn_and_has_a_table(opened: Page) -> None:
    drawn = opened("return document.querySelectorAll('.plot.js-plotly-plot').length")
    assert drawn == opened("return document.querySelectorAll('.plot').length") >= 8
    tables = opened(
        "for (const part of document.querySelectorAll('details')) part.open = true;"
        "return document.querySelectorAll('details').length"
    )
    assert tables >= 6
    opened("return new Promise((done) => setTimeout(done, 200))")
    assert opened("return [...document.querySelectorAll('details table tbody')].every((body) => body.children.length)")


def test_a_threshold_that_never_clipped_is_inert(opened: Page) -> None:
    thresholds = opened("return content.studies[0].trials.map((trial) => trial.settings['clip.threshold'] ?? null)")
    inert = [number for number, threshold in enumerate(thresholds) if threshold is not None and threshold > 2]
    assert inert
    text = opened("return document.getElementById('report').innerText")
    assert f"{', '.join(map(str, inert))} never clipped: it is inert" in text
    row = opened.find(f'.leaderboard [data-trial="{inert[0]}"]').text
    assert f"{float(f'{thresholds[inert[0]]:.3g}'):g} (inert)" in row
    shown = opened("return document.querySelector('.rates').data[0]")
    rates = dict(zip(shown["customdata"], shown["y"], strict=True))
    assert all(rates[number] == 0 for number in inert)
    assert max(rates.values()) > 0


def test_the_page_is_no_wider_than_the_window(opened: Page) -> None:
    assert opened("return document.documentElement.scrollWidth <= window.innerWidth")


def test_the_leaderboard_is_filtered_and_sorted(opened: Page) -> None:
    everything = opened.rows()
    assert len(everything) == 60
    values = opened("return content.studies[0].trials.map((trial) => trial.value)")
    assert everything == sorted(range(60), key=lambda number: (-values[number], number))
    field = opened.find(".filter")
    field.send_keys("model.cell=lstm")
    cells = opened("return content.studies[0].trials.map((trial) => trial.settings['model.cell'])")
    assert sorted(opened.rows()) == [number for number in range(60) if cells[number] == "lstm"]
    field.clear()
    opened("const s = document.querySelector('.state'); s.value = 'PRUNED'; s.dispatchEvent(new Event('change'))")
    assert 0 < len(opened.rows()) < 60
    assert ", pruned" in opened.find(".leaderboard tbody tr").text
    opened("document.querySelector('.leaderboard th:nth-child(2) button').click()")
    assert opened.rows() == sorted(opened.rows())


def test_a_click_marks_a_trial_in_every_picture(opened: Page) -> None:
    opened("document.querySelector('.leaderboard tbody tr:nth-child(5)').click()")
    number = opened.rows()[4]
    assert f"trial {number}" in opened.find(".choice").text
    marked = opened("return document.querySelector('.curves').data.at(-1).customdata.filter((n) => n !== null)")
    assert set(marked) == {number}
    assert opened("return document.querySelector('.leaderboard tr.chosen').dataset.trial") == str(number)
    opened("document.querySelector('.choice button').click()")
    assert opened("return document.querySelector('.choice').hidden")


def test_a_click_on_a_curve_marks_its_row_and_a_hover_names_the_trial(opened: Page) -> None:
    opened(
        "const plot = document.querySelector('.curves'); plot.scrollIntoView({block: 'center'});"
        "Plotly.Fx.hover(plot, [{curveNumber: 1, pointNumber: 3}])"
    )
    assert "trial" in opened("return document.querySelector('.curves .hoverlayer').textContent")
    number = opened("return document.querySelector('.curves').data[1].customdata[3]")
    opened("document.querySelector('.curves').emit('plotly_click', {points: [{customdata: arguments[0]}]})", number)
    assert opened("return document.querySelector('.leaderboard tr.chosen').dataset.trial") == str(number)


def test_the_theme_changes(opened: Page) -> None:
    before = opened("return getComputedStyle(document.body).backgroundColor")
    opened.find(".theme").click()
    assert opened("return getComputedStyle(document.body).backgroundColor") != before
    assert opened("return document.querySelector('.curves').layout.font.color") == opened("return color('ink')")


def test_a_keyboard_is_enough(opened: Page) -> None:
    opened("document.querySelector('.leaderboard tbody tr').focus()")
    active = opened("return document.activeElement.dataset.trial")
    opened(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true}));"
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    )
    chosen = opened("return document.querySelector('.leaderboard tr.chosen').dataset.trial")
    assert chosen != active


def test_it_works_in_the_sandbox_of_mlflow_s_pages(browser: Any, page: Path) -> None:
    """MLflow shows an HTML artifact in a frame that allows scripts only."""
    frame = page.with_name("frame.html")
    frame.write_text(f'<iframe sandbox="allow-scripts" src="{page.name}" width="1200" height="800"></iframe>')
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get_log("browser")
        browser.get(f"http://127.0.0.1:{server.server_port}/frame.html")
        browser.switch_to.frame(0)
        wait_until_ready(browser)
        assert browser.execute_script("drawAll(); return document.querySelectorAll('.js-plotly-plot').length") >= 8
        browser.switch_to.default_content()
        server.shutdown()
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if "favicon" not in message] == []


def test_it_is_small_and_needs_no_network(page: Path) -> None:
    assert page.stat().st_size < 6_000_000
    text = page.read_text(encoding="utf-8")
    head = text[: text.index('<script type="application/json"')]
    assert "http" not in head
    assert "<link" not in head
