/* What each setting does: importances, slices, parallel coordinates, and the two most important ones together. */

function settingsPart(study) {
  const names = study.plain.settings.filter((name) => !name.endsWith(".seed"));
  if (!names.length || study.ranked.length < 2) return [];
  const shown = new Comparison(study);
  const after = [slices(shown, names), parallel(shown, names), contour(shown, names)].filter(Boolean);
  const choose = (event) => {
    shown.epochs = Number(event.target.value);
    for (const picture of after) picture.draw();
  };
  const options = [];
  for (let n = study.fewestEpochs; n <= study.mostEpochs; n += 1) {
    const reached = study.ranked.filter((trial) => trial.epoch_seconds.length >= n).length;
    options.push(element("option", { value: String(n) }, `${n} (${plural(reached, "trial")})`));
  }
  const row = (trial) => [trial.number, number(shown.value(trial)), ...names.map((name) => short(trial.settings[name]))];
  const columns = ["trial", `${study.plain.metric} until that epoch`, ...names.map(compact)];
  const select = element("select", { class: "epochs", onchange: choose }, ...options);
  return [
    title("Settings"),
    note(
      `${study.plain.importances_text} The pictures compare all trials after the same number of epochs, ` +
        "so pruned trials are treated like the others.",
    ),
    ...(study.plain.importances.length ? [importances(study).node] : []),
    element("div", { class: "bar" }, element("label", {}, "compared after epoch", select)),
    ...after.map((picture) => element("div", { class: "wide" }, picture.node)),
    hiddenTable("the settings as a table", columns, () => shown.trials().map(row)),
  ];
}

/* The trials at equal numbers of epochs: a trial has its best value within the first ones. */
class Comparison {
  constructor(study) {
    this.study = study;
    this.epochs = study.fewestEpochs;
  }

  trials() {
    return this.study.ranked.filter((trial) => this.value(trial) !== null);
  }

  value(trial) {
    const values = trial.curve[this.study.plain.metric];
    if (!values || values.length < this.epochs) return null;
    const first = values.slice(0, this.epochs).filter((value) => value !== null);
    if (!first.length) return null;
    return this.study.sign > 0 ? Math.max(...first) : Math.min(...first);
  }

  /* How the values of a setting are laid out: as numbers, as logarithms, or as names. */
  scale(name) {
    const values = this.study.trials.map((trial) => trial.settings[name]).filter((value) => value !== undefined);
    const isNumeric = values.every((value) => typeof value === "number");
    const isLog = isNumeric && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 20;
    return { values: [...new Set(values)], isNumeric, isLog };
  }

  axis(name) {
    const { isNumeric, isLog } = this.scale(name);
    return { type: isNumeric ? (isLog ? "log" : "linear") : "category", categoryorder: "category ascending" };
  }
}

function importances(study) {
  const rows = study.plain.importances, names = rows.map((row) => compact(row.setting));
  const share = { type: "bar", orientation: "h", name: "importance", y: names, x: rows.map((row) => row.share) };
  const chance = { type: "scatter", mode: "markers", name: "95% by chance", y: names, x: rows.map((row) => row.limit) };
  const mark = () => ({ symbol: "line-ns-open", size: 16, color: color("best"), line: { width: 2 } });
  return study.picture(
    "importance of each setting",
    "low",
    () => [{ ...share, marker: { color: color("accent") } }, { ...chance, marker: mark() }],
    () => ({ showlegend: true, xaxis: named("share"), yaxis: { autorange: "reversed" } }),
  );
}

function slices(shown, names) {
  const columns = Math.min(names.length, isNarrow() ? 2 : 4), rows = Math.ceil(names.length / columns);
  const suffix = (place) => (place ? String(place + 1) : "");
  const traces = () =>
    names.map((name, place) => {
      const { isNumeric } = shown.scale(name);
      const trials = shown.trials().filter((trial) => name in trial.settings);
      const x = (trial) => (isNumeric ? trial.settings[name] : String(trial.settings[name]));
      const axes = { xaxis: `x${suffix(place)}`, yaxis: `y${suffix(place)}` };
      return points(shown.study, trials, x, (trial) => shown.value(trial), { size: 7, ...axes });
    });
  const layout = () => {
    const made = { grid: { rows, columns, pattern: "independent", xgap: 0.14, ygap: 0.3 }, margin: { l: 52 } };
    names.forEach((name, place) => {
      made[`xaxis${suffix(place)}`] = { title: { text: compact(name), standoff: 2 }, ...shown.axis(name), nticks: 5 };
      made[`yaxis${suffix(place)}`] = { nticks: 5 };
    });
    return made;
  };
  const picture = shown.study.picture("value over each setting", "slices", traces, layout);
  picture.node.style.height = `${Math.max(15, 14 * rows)}rem`;
  return picture;
}

/* Parallel coordinates as lines, so that trials can be marked, the page prints, and no WebGL is needed. */
function parallel(shown, names) {
  const study = shown.study;
  const traces = () => {
    const scales = names.map((name) => unitScale(shown.scale(name)));
    const trials = shown.trials(), values = trials.map((trial) => shown.value(trial));
    const result = unitScale({ values, isNumeric: true, isLog: false });
    const places = (trial) => {
      const words = study.describe(trial);
      const across = names.map((name, place) => [place, name in trial.settings ? scales[place].of(trial.settings[name]) : -0.08, words]);
      return [...across, [names.length, result.of(shown.value(trial)), words]];
    };
    const thin = trials.filter((trial) => !study.isThick(trial));
    const isGood = (trial) => study.sign * (result.of(shown.value(trial)) - 0.5) >= 0.25;
    const ends = [...scales, result].flatMap((scale, place) => scale.ends.map(([where, text]) => [place, where, ` ${text}`]));
    return [
      lines(thin.filter((trial) => !isGood(trial)), places, { width: 1, shade: color("quiet"), opacity: 0.35 }),
      lines(thin.filter(isGood), places, { width: 1.3, shade: color("accent"), opacity: 0.7 }),
      lines(trials.filter((trial) => study.isThick(trial)), places, { width: 3, shade: color("best") }),
      {
        type: "scatter",
        mode: "text",
        hoverinfo: "skip",
        x: ends.map(([place]) => place),
        y: ends.map(([, where]) => where),
        text: ends.map(([, , text]) => text),
        textposition: "middle right",
        textfont: { size: 10, color: color("quiet") },
      },
    ];
  };
  return study.picture("parallel coordinates of all settings", "parallel", traces, () => ({
    xaxis: {
      tickvals: [...names.keys(), names.length],
      ticktext: [...names.map(compact), study.plain.metric],
      range: [-0.2, names.length + 0.5],
    },
    yaxis: { visible: false, range: [-0.14, 1.08] },
    margin: { l: 16, b: 60 },
  }));
}

/* Returns a scale from values to 0 … 1, and the texts that stand beside it. */
function unitScale({ values, isNumeric, isLog }) {
  if (!isNumeric) {
    const sorted = [...values].sort((a, b) => String(a).localeCompare(String(b)));
    const of = (value) => (sorted.length > 1 ? sorted.indexOf(value) / (sorted.length - 1) : 0.5);
    return { of, ends: sorted.map((value) => [of(value), String(value)]) };
  }
  const map = isLog ? Math.log : (value) => value;
  const low = Math.min(...values), high = Math.max(...values);
  const of = (value) => (high > low ? (map(value) - map(low)) / (map(high) - map(low)) : 0.5);
  return { of, ends: [[of(low), short(low)], [of(high), short(high)]] };
}

const GRID = 25;

/* The two most important numeric settings: the trials, over a surface that is interpolated between them. */
function contour(shown, names) {
  const study = shown.study;
  const numeric = names.filter((name) => shown.scale(name).isNumeric && shown.scale(name).values.length >= 6);
  const important = study.plain.importances.map((row) => row.setting).filter((name) => numeric.includes(name));
  const [one, other] = important.length >= 2 ? important : numeric;
  if (other === undefined || shown.trials().length < 8) return null;
  const traces = () => {
    const trials = shown.trials().filter((trial) => one in trial.settings && other in trial.settings);
    const [x, y] = [one, other].map((name) => gridAxis(trials.map((trial) => trial.settings[name]), shown.scale(name).isLog));
    const surface = {
      type: "contour",
      x: x.ticks,
      y: y.ticks,
      z: interpolated(x.units, y.units, trials.map((trial) => shown.value(trial))),
      colorscale: [[0, color("raised")], [1, color("accent")]],
      reversescale: study.sign < 0,
      opacity: 0.6,
      hoverinfo: "skip",
      colorbar: { title: { text: study.plain.metric }, thickness: 12 },
      line: { width: 0.4 },
    };
    return [surface, points(study, trials, (trial) => trial.settings[one], (trial) => trial.settings[other])];
  };
  const axis = (name) => named(compact(name), shown.axis(name));
  const layout = () => ({ xaxis: axis(one), yaxis: axis(other) });
  return study.picture(`${study.plain.metric} over ${one} and ${other}`, "contour", traces, layout);
}

/* Returns the places of values between 0 and 1, and the values of the lines of a grid over them. */
function gridAxis(values, isLog) {
  const map = isLog ? Math.log10 : (value) => value, back = isLog ? (value) => 10 ** value : (value) => value;
  const mapped = values.map(map), low = Math.min(...mapped), span = Math.max(...mapped) - low || 1;
  const ticks = Array.from({ length: GRID }, (_, n) => back(low + (n * span) / (GRID - 1)));
  return { units: mapped.map((value) => (value - low) / span), ticks };
}

/* Returns the mean of the values at each place of the grid, weighted by the inverse square of their squared distance. */
function interpolated(x, y, values) {
  const places = Array.from({ length: GRID }, (_, n) => n / (GRID - 1));
  return places.map((up) =>
    places.map((across) => {
      const weights = values.map((_, n) => ((x[n] - across) ** 2 + (y[n] - up) ** 2 + 0.002) ** -2);
      const sum = weights.reduce((total, weight) => total + weight, 0);
      return weights.reduce((total, weight, n) => total + weight * values[n], 0) / sum;
    }),
  );
}
