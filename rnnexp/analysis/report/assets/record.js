/* What one needs to trust the figures: failures, the use of the slots, data and versions. */

function failuresPart(study) {
  const groups = new Map();
  for (const trial of study.trials.filter((each) => each.reason)) {
    const kind = `${trial.state}: ${trial.reason.replace(/\d+/g, "N")}`;
    groups.set(kind, [...(groups.get(kind) ?? []), trial]);
  }
  if (!groups.size) return [];
  const rows = [...groups.values()]
    .sort((a, b) => b.length - a.length)
    .map((some) => [
      some.length,
      element("span", { class: some[0].state }, some[0].state),
      element("span", { class: "reason" }, some[0].reason),
      element("span", { class: "reason" }, some.map((trial) => trial.number).join(", ")),
    ]);
  return [title("Failures and prunings"), table(["trials", "state", "reason", "which"], rows, [1, 2, 3])];
}

function timelinePart(study) {
  const spans = study.trials.flatMap((trial) => trial.spans.map(([begin, end]) => ({ trial, begin, end })));
  if (!spans.length) return [];
  spans.sort((a, b) => a.begin - b.begin);
  const n_slots = assignSlots(spans);
  const start = spans[0].begin;
  const traces = () => [
    {
      type: "bar",
      orientation: "h",
      y: spans.map((span) => `slot ${span.slot + 1}`),
      base: spans.map((span) => (span.begin - start) / 60),
      x: spans.map((span) => Math.max((span.end - span.begin) / 60, 0.002)),
      customdata: spans.map((span) => span.trial.number),
      text: spans.map((span) => `${study.describe(span.trial)}<br>${duration(span.end - span.begin)}`),
      textposition: "none",
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: spans.map((span) => study.colorOf(span.trial)), line: { width: 1, color: color("ground") } },
    },
  ];
  const layout = () => ({ barmode: "overlay", xaxis: named("minutes since the start"), yaxis: { autorange: "reversed" } });
  const picture = study.picture("which slot trained which trial when", "low", traces, layout);
  picture.node.style.height = `${Math.min(28, 7 + 1.6 * n_slots)}rem`;
  const rows = () => spans.map((span) => [span.trial.number, span.slot + 1, number(span.begin - start, 1), number(span.end - start, 1)]);
  return [title("Timeline"), picture.node, hiddenTable("the timeline as a table", ["trial", "slot", "begin, s", "end, s"], rows)];
}

/* Gives each attempt the first slot that is free when it begins; returns how many slots that takes. */
function assignSlots(spans) {
  const free = [];
  for (const span of spans) {
    const found = free.findIndex((until) => until <= span.begin + 0.5);
    span.slot = found < 0 ? free.length : found;
    free[span.slot] = span.end;
  }
  return free.length;
}

function trustPart(study) {
  const found = study.plain.trust;
  const rows = [
    ["data", found.data.join("; ")],
    ["texts for training", found.n_train.join(", ")],
    ["texts for validation", found.n_validation.join(", ")],
    ["validation rows (digest)", found.splits.join(", ")],
    ["processor", found.machines.join("; ")],
    ["versions", found.versions.join(", ")],
    ["recurrent layers", found.kernels.join(", ")],
  ].filter(([, value]) => value);
  return [
    title("What these figures rest on"),
    ...(found.splits.length > 1 ? [note("The trials have different validation rows: each seed draws its own split.")] : []),
    definitions(rows),
  ];
}
