/* The table of all trials: sorted by any column, filtered by state and settings. */

function leaderboardPart(study) {
  const columns = leaderboardColumns(study);
  const byValue = columns.findIndex((column) => column.isValue);
  const shown = { column: 0, ascending: true, state: "all", words: [] };
  const body = element("tbody");
  const count = element("span", { class: "quiet", "aria-live": "polite" });
  const fill = () => {
    const found = study.trials.filter((trial) => isShown(trial, shown)).sort(order(columns[shown.column], shown.ascending));
    count.textContent = found.length === study.trials.length ? "" : `${found.length} of ${study.trials.length}`;
    body.replaceChildren(...found.map((trial) => leaderboardRow(study, columns, trial)));
  };
  const heads = columns.map((column, place) => {
    const sort = () => {
      shown.ascending = shown.column === place ? !shown.ascending : !(place === byValue && study.sign > 0);
      shown.column = place;
      showOrder();
      fill();
    };
    const button = element("button", { type: "button", onclick: sort }, column.name);
    return element("th", { class: column.isText ? "text" : "", scope: "col" }, button);
  });
  const showOrder = () =>
    heads.forEach((head, place) => {
      const direction = shown.ascending ? "ascending" : "descending";
      head.setAttribute("aria-sort", place === shown.column ? direction : "none");
    });
  study.onChoice.push(() => {
    for (const row of body.children) row.classList.toggle("chosen", Number(row.dataset.trial) === study.chosen);
  });
  showOrder();
  fill();
  const common = Object.entries(study.plain.common);
  const frame = { class: "leaderboard" };
  return [
    title("Leaderboard"),
    note(leaderboardNote(study)),
    leaderboardBar(study, shown, fill, count),
    element("div", { class: "scroll" }, element("table", frame, element("thead", {}, element("tr", {}, ...heads)), body)),
    element(
      "details",
      {},
      element("summary", {}, `${common.length} settings that all trials share`),
      definitions(common.map(([name, value]) => [name, short(value)])),
    ),
  ];
}

function leaderboardColumns(study) {
  const { metric, error, settings, further, has_places } = study.plain;
  const pruned = (trial) => (trial.state === "PRUNED" && trial.value !== null ? ` at epoch ${trial.best_epoch}, pruned` : "");
  const uncertainty = (trial) => (trial.value === null ? null : 1.96 * error);
  const inert = (trial, name) => (name === "clip.threshold" && trial.inert ? " (inert)" : "");
  return [
    { name: "rank", value: (trial) => trial.rank, text: (trial) => short(trial.rank) },
    { name: "trial", value: (trial) => trial.number, text: (trial) => String(trial.number) },
    { name: "state", value: (trial) => trial.state, text: (trial) => trial.state, isText: true, isState: true },
    { name: metric, value: (trial) => trial.value, text: (trial) => number(trial.value) + pruned(trial), isValue: true },
    error === null ? null : { name: "± 95%", value: uncertainty, text: (trial) => number(uncertainty(trial), 3) },
    hasExpected(study)
      ? { name: "retrained", value: (trial) => trial.expected, text: (trial) => number(trial.expected) }
      : null,
    ...further.map((name) => ({ name, value: (trial) => trial.further[name], text: (trial) => grouped(trial.further[name]) })),
    has_places ? { name: "place", value: (trial) => trial.place, text: (trial) => trial.place, isText: true } : null,
    { name: "best epoch", value: (trial) => trial.best_epoch, text: (trial) => short(trial.best_epoch) },
    { name: "epochs", value: (trial) => trial.epoch_seconds.length, text: (trial) => String(trial.epoch_seconds.length) },
    ...settings.map((name) => ({
      name: compact(name),
      value: (trial) => trial.settings[name],
      text: (trial) => short(trial.settings[name]) + inert(trial, name),
    })),
    { name: "time", value: (trial) => trial.seconds, text: (trial) => duration(trial.seconds) },
    { name: "reason", value: (trial) => trial.reason, text: (trial) => trial.reason, isText: true, isReason: true },
  ].filter(Boolean);
}

function hasExpected(study) {
  return study.trials.some((trial) => trial.expected !== null);
}

const FRONT = "Front: no other trial is at least as good in each objective and better in one.";
const RETRAINED =
  "Retrained: the value that is expected with another seed on the same validation texts, without the luck of the seed that was drawn.";

function leaderboardNote(study) {
  const { error, error_text, has_places } = study.plain;
  return [
    "Click a trial, here or in a picture, to mark it everywhere.",
    "A pruned trial has its best value until then: its rank is not final.",
    error === null ? "" : `± is about ${error_text}.`,
    has_places ? `${FRONT} Outside: violates a constraint, ranks last.` : "",
    hasExpected(study) ? RETRAINED : "",
  ].filter(Boolean).join(" ");
}

function leaderboardBar(study, shown, fill, count) {
  const states = ["all", ...Object.keys(study.plain.states)];
  const chooseState = (event) => {
    shown.state = event.target.value;
    fill();
  };
  const chooseWords = (event) => {
    shown.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    fill();
  };
  const options = states.map((state) => element("option", { value: state }, state));
  const field = { type: "text", class: "filter", size: "26", placeholder: "model.cell=lstm maxlen=400", oninput: chooseWords };
  return element(
    "div",
    { class: "bar" },
    element("label", {}, "state", element("select", { class: "state", onchange: chooseState }, ...options)),
    element("label", {}, "filter", element("input", field)),
    count,
  );
}

function isShown(trial, shown) {
  if (shown.state !== "all" && trial.state !== shown.state) return false;
  const settings = Object.entries(trial.settings).map(([name, value]) => `${name}=${short(value)}`);
  const texts = [`trial ${trial.number}`, trial.reason, ...settings].map((text) => text.toLowerCase());
  return shown.words.every((word) => texts.some((text) => text.includes(word)));
}

/* Returns how two trials are ordered by a column: those without a value last, equal ones by number. */
function order(column, isAscending) {
  const isMissing = (value) => value === null || value === undefined || value === "";
  const compare = (one, other) => {
    if (typeof one === "number" && typeof other === "number") return one - other;
    return String(one) < String(other) ? -1 : 1;
  };
  return (a, b) => {
    const [one, other] = [column.value(a), column.value(b)];
    if (isMissing(one) || isMissing(other)) return isMissing(one) - isMissing(other) || a.number - b.number;
    if (one === other) return a.number - b.number;
    return (isAscending ? 1 : -1) * compare(one, other);
  };
}

function leaderboardRow(study, columns, trial) {
  const onkeydown = (event) => {
    const next = { ArrowDown: event.target.nextElementSibling, ArrowUp: event.target.previousElementSibling }[event.key];
    if (event.key === "Enter" || event.key === " ") study.choose(trial.number);
    else if (next) next.focus();
    else return;
    event.preventDefault();
  };
  const classOf = (column) => [column.isText && "text", column.isReason && "reason", column.isState && trial.state];
  const cells = columns.map((column) => element("td", { class: classOf(column).filter(Boolean).join(" ") }, column.text(trial)));
  const classes = [trial.number === study.chosen && "chosen", trial === study.best && "best"].filter(Boolean);
  const onclick = () => study.choose(trial.number);
  return element("tr", { class: classes.join(" "), tabindex: "0", "data-trial": trial.number, onclick, onkeydown }, ...cells);
}
