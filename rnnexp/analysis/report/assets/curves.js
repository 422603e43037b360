/* Learning curves of all trials, and the history of the study. */

function curvesPart(study) {
  const names = ["val_accuracy", "val_loss", "accuracy", "loss"].filter((name) => study.trials.some((trial) => name in trial.curve));
  const shown = { curve: names.includes(study.plain.metric) ? study.plain.metric : names[0], smoothing: 0 };
  const places = (trial) => {
    const words = study.describe(trial);
    const values = smooth(trial.curve[shown.curve] ?? [], shown.smoothing);
    return values.map((value, place) => [place + 1, value, `${words}<br>epoch ${place + 1}: ${number(value)}`]);
  };
  const traces = () => {
    const rest = study.trials.filter((trial) => !study.isThick(trial)), thick = study.trials.filter((trial) => study.isThick(trial));
    const opacity = study.chosen === null ? 0.55 : 0.22;
    const isPruned = (trial) => trial.state === "PRUNED";
    return [
      lines(rest.filter(isPruned), places, { width: 1, shade: color("pruned"), dash: "dash", opacity }),
      lines(rest.filter((trial) => !isPruned(trial)), places, { width: 1, shade: color("accent"), opacity }),
      lines(thick, places, { width: 3, shade: color("best"), dash: thick.some(isPruned) ? "dash" : "solid" }),
    ];
  };
  const layout = () => ({ xaxis: study.epochAxis(), yaxis: named(shown.curve) });
  const picture = study.picture("learning curves of all trials", "curves", traces, layout);
  const chooseCurve = (name) => {
    shown.curve = name;
    picture.draw();
  };
  const chooseSmoothing = (event) => {
    shown.smoothing = Number(event.target.value);
    picture.draw();
  };
  const slider = element("input", { type: "range", min: "0", max: "0.9", step: "0.1", value: "0", oninput: chooseSmoothing });
  const rows = () =>
    study.trials.flatMap((trial) =>
      trial.epoch_seconds.map((_, place) => [trial.number, place + 1, ...names.map((name) => number(trial.curve[name]?.[place]))]),
    );
  return [
    title("Learning curves"),
    note("All trials; pruned ones are dashed, the best one or the marked one is thick."),
    element("div", { class: "bar" }, ...buttons(names, shown.curve, chooseCurve), element("label", {}, "smoothing", slider)),
    picture.node,
    hiddenTable("the curves as a table", ["trial", "epoch", ...names], rows),
  ];
}

/* Returns the exponential moving average; with 0 the values themselves. */
function smooth(values, smoothing) {
  let mean = null;
  return values.map((value) => {
    if (value === null) return null;
    mean = mean === null ? value : smoothing * mean + (1 - smoothing) * value;
    return mean;
  });
}

function historyPart(study) {
  const ended = study.trials.filter((trial) => trial.value !== null && trial.ended !== null);
  if (ended.length < 2) return [];
  const expected = study.plain.expected_best;
  let byTime = false;
  const place = (trial) => (byTime ? trial.ended / 60 : trial.number);
  const traces = () => {
    const ordered = [...ended].sort((a, b) => place(a) - place(b));
    const best = {
      type: "scatter",
      mode: "lines",
      name: "best so far",
      x: ordered.map(place),
      y: bestSoFar(study, ordered),
      hoverinfo: "skip",
      line: { shape: "hv", color: color("best"), width: 2 },
    };
    const dotted = {
      type: "scatter",
      mode: "lines",
      name: "expected best",
      x: expected.map((_, n) => n),
      y: expected,
      hovertemplate: "%{y:.4f}<extra>expected best</extra>",
      line: { color: color("quiet"), dash: "dot", width: 2 },
    };
    return [points(study, ordered, place, (trial) => trial.value, { name: "trial" }), best, ...(byTime ? [] : [dotted])];
  };
  const picture = study.picture("value of each trial, and best value so far", "low", traces, () => ({
    showlegend: true,
    xaxis: named(byTime ? "minutes since the start" : "trial"),
    yaxis: named(study.plain.metric),
  }));
  const choose = (value) => {
    byTime = value;
    picture.draw();
  };
  return [
    title("History"),
    note(
      "Dotted: the best value that is expected of so many trials if they are drawn independently, as random search draws them " +
        "(Dodge et al. 2019, unbiased form of Tang et al. 2020). If it is flat at the end, more trials like these gain little.",
    ),
    element("div", { class: "bar" }, ...buttons([false, true], byTime, choose, (value) => (value ? "by wall time" : "by trials"))),
    picture.node,
    hiddenTable("the history as a table", ["trials", "expected best"], () => expected.map((value, n) => [n + 1, number(value)])),
  ];
}
