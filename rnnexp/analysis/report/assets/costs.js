/* What the trials cost, and what their gradients and the clipping did. */

const COSTS = { train_seconds: "training time, seconds", n_params: "weights", ms_per_text: "milliseconds a text" };

function costsPart(study) {
  const kinds = Object.keys(COSTS).filter((kind) => study.ranked.some((trial) => kind in trial.costs));
  if (!kinds.length) return [];
  let kind = kinds[0];
  const known = () => study.ranked.filter((trial) => kind in trial.costs);
  const cost = (trial) => trial.costs[kind], value = (trial) => trial.value;
  const traces = () => {
    const best = front(known(), cost, study.sign);
    const line = {
      type: "scatter",
      mode: "lines",
      name: "Pareto front",
      x: best.map(cost),
      y: best.map(value),
      hoverinfo: "skip",
      line: { shape: "hv", color: color("best"), width: 1.5 },
    };
    const text = (trial) => `${study.describe(trial)}<br>${COSTS[kind]}: ${short(cost(trial))}`;
    return [line, points(study, known(), cost, value, { text, name: "trial" })];
  };
  const layout = () => ({ showlegend: true, xaxis: named(COSTS[kind], { type: "log" }), yaxis: named(study.plain.metric) });
  const picture = study.picture("value against cost", "low", traces, layout);
  const choose = (chosen) => {
    kind = chosen;
    picture.draw();
  };
  const row = (trial) => [trial.number, number(trial.value), ...kinds.map((each) => grouped(trial.costs[each] ?? null))];
  const rows = () => front(known(), cost, study.sign).map(row);
  return [
    title("Value against cost"),
    note("No trial is both cheaper and better than one on the line. A pruned trial costs less because it was stopped."),
    element("div", { class: "bar" }, ...buttons(kinds, kind, choose, (each) => COSTS[each])),
    picture.node,
    hiddenTable("the front as a table", ["trial", study.plain.metric, ...kinds.map((each) => COSTS[each])], rows),
  ];
}

/* Returns the trials than which no other is both cheaper and better, cheapest first. */
function front(trials, cost, sign) {
  const ordered = [...trials].sort((a, b) => cost(a) - cost(b) || sign * (b.value - a.value));
  let best = -Infinity;
  return ordered.filter((trial) => {
    const isBetter = sign * trial.value > best;
    if (isBetter) best = sign * trial.value;
    return isBetter;
  });
}

function clippingPart(study) {
  const trials = study.trials.filter((trial) => (trial.curve.grad_norm ?? []).some((value) => value !== null));
  if (!trials.length) return [];
  const fired = trials.filter((trial) => clipRate(trial) !== null && study.setting(trial, "clip.threshold") !== undefined);
  const norm = (trial) => trial.curve.grad_norm;
  const rows = () =>
    trials.map((trial) => [
      trial.number,
      short(study.setting(trial, "clip.kind")),
      short(study.setting(trial, "clip.threshold")),
      percent(clipRate(trial), 1),
      short(norm(trial)[0]),
      short(norm(trial).at(-1)),
    ]);
  return [
    title("Gradients and clipping"),
    note("The norm of the gradient of all weights before clipping, mean over the steps of an epoch."),
    ...inertNote(study),
    gradientNorms(study, trials, norm).node,
    ...(fired.length ? [clipRates(study, fired).node] : []),
    hiddenTable("clipping as a table", ["trial", "kind", "threshold", "clipped steps", "norm, first epoch", "norm, last epoch"], rows),
  ];
}

/* Returns which thresholds never clipped, and which trials are therefore the same. */
function inertNote(study) {
  const inert = study.trials.filter((trial) => trial.inert).map((trial) => trial.number);
  const same = study.plain.same_without_clipping.map((group) => group.join(" = ")).join("; ");
  const which = `The threshold of ${inert.length === 1 ? "trial" : "trials"} ${inert.join(", ")} never clipped: it is inert.`;
  return [
    inert.length ? element("p", {}, which) : null,
    same ? element("p", {}, `Apart from a clipping that never happened, these trials have the same settings: ${same}.`) : null,
  ].filter(Boolean);
}

/* Returns in which share of a trial's steps its gradient was clipped; null without clipping. */
function clipRate(trial) {
  const rates = (trial.curve.clip_rate ?? []).filter((value) => value !== null);
  return rates.length ? rates.reduce((sum, value) => sum + value, 0) / rates.length : null;
}

function gradientNorms(study, trials, norm) {
  const places = (trial) => {
    const words = study.describe(trial);
    return norm(trial).map((value, place) => {
      const rate = trial.curve.clip_rate?.[place] ?? null;
      const clipped = rate === null ? "" : `, clipped in ${percent(rate)} of the steps`;
      return [place + 1, value, `${words}<br>epoch ${place + 1}: mean norm ${short(value)}${clipped}`];
    });
  };
  const traces = () => [
    lines(trials.filter((trial) => !study.isThick(trial)), places, { width: 1, shade: color("accent"), opacity: 0.4 }),
    lines(trials.filter((trial) => study.isThick(trial)), places, { width: 3, shade: color("best") }),
  ];
  const layout = () => ({ xaxis: study.epochAxis(), yaxis: named("gradient norm", { type: "log" }) });
  return study.picture("gradient norm before clipping by epoch", "low norms", traces, layout);
}

function clipRates(study, trials) {
  const text = (trial) => `${study.describe(trial)}<br>clipped in ${percent(clipRate(trial), 1)} of the steps`;
  const threshold = (trial) => study.setting(trial, "clip.threshold");
  return study.picture(
    "how often clipping fired, by threshold",
    "low rates",
    () => [points(study, trials, threshold, (trial) => 100 * clipRate(trial), { text })],
    () => ({ xaxis: named("clip.threshold", { type: "log" }), yaxis: named("% of the steps clipped", { rangemode: "tozero" }) }),
  );
}
