/* One study: its trials, which of them is marked, and the parts of its page. */

class Study {
  constructor(plain) {
    this.plain = plain;
    this.sign = plain.direction === "maximize" ? 1 : -1;
    this.trials = plain.trials;
    this.ranked = this.trials.filter((trial) => trial.rank !== null).sort((a, b) => a.rank - b.rank);
    this.best = this.ranked[0] ?? null;
    this.chosen = null;
    this.pictures = [];
    this.onChoice = [];
    const lengths = this.ranked.map((trial) => trial.epoch_seconds.length).filter((length) => length > 0);
    this.fewestEpochs = lengths.length ? Math.min(...lengths) : 1;
    this.mostEpochs = lengths.length ? Math.max(...lengths) : 1;
  }

  /* The value of a setting, also of one that all trials share. */
  setting(trial, name) {
    return trial.settings[name] ?? this.plain.common[name];
  }

  /* Value and settings of a trial, for a hover. */
  describe(trial) {
    const settings = this.plain.settings
      .filter((name) => name in trial.settings)
      .map((name) => `${compact(name)} ${short(trial.settings[name])}`);
    const state = trial.state === "PRUNED" ? `, pruned after epoch ${trial.epoch_seconds.length}` : "";
    return `<b>trial ${trial.number}</b>: ${number(trial.value)}${state}<br>${settings.join("<br>")}`;
  }

  /* Marks a trial everywhere, or takes its mark away. */
  choose(trial) {
    this.chosen = this.chosen === trial ? null : trial;
    for (const picture of this.pictures) if (picture.isDrawn) picture.draw();
    for (const tell of this.onChoice) tell();
  }

  /* The trial that pictures show thick: the marked one, or else the best. */
  isThick(trial) {
    return trial.number === (this.chosen ?? this.best?.number);
  }

  colorOf(trial) {
    if (this.isThick(trial)) return color("best");
    return trial.state === "PRUNED" ? color("pruned") : color("accent");
  }

  picture(label, className, traces, layout) {
    const made = new Picture(label, className, traces, layout, (trial) => this.choose(trial));
    this.pictures.push(made);
    return made;
  }

  epochAxis() {
    return named("epoch", { dtick: this.mostEpochs <= 20 ? 1 : undefined });
  }

  render() {
    const { name, question, answer } = this.plain;
    const hasCurves = this.ranked.some((trial) => trial.epoch_seconds.length);
    const parts = [
      content.studies.length > 1 ? element("h2", { id: `study-${name}` }, name) : null,
      question ? element("p", { class: "question" }, question) : null,
      element("div", { class: "answer" }, ...answer.map((sentence) => element("p", {}, sentence))),
      this.best ? this.nextCommands() : null,
      note(this.counts()),
      ...certificatePart(this),
      ...leaderboardPart(this),
      ...(hasCurves ? [curvesPart, historyPart, settingsPart, costsPart, clippingPart].flatMap((part) => part(this)) : []),
      ...failuresPart(this),
      ...timelinePart(this),
      ...trustPart(this),
      this.panel(),
    ];
    return element("section", {}, ...parts);
  }

  nextCommands() {
    const command = (words) => element("code", {}, `rnnexp ${words}`);
    return element(
      "p",
      { class: "quiet" },
      "Next: ",
      ...(this.plain.certificate ? [] : [command(`certify ${this.plain.name} --top 3`), " tells how sure the ranking is; "]),
      command(`export ${this.plain.name}${this.plain.further.length ? ` --prefer ${this.plain.metric}` : ""} --to best`),
      " writes the best model as a bundle that accepts raw text.",
    );
  }

  counts() {
    const { states, budget, metric, direction } = this.plain;
    const each = Object.entries(states).map(([state, n]) => `${n} ${state}`);
    const of = budget === null ? "" : ` of ${budget}`;
    return `${plural(this.trials.length, "trial")}${of}: ${each.join(", ")}. Value: ${metric} at each trial's best epoch, ${direction}d.`;
  }

  /* The panel at the foot of the window that tells about the marked trial. */
  panel() {
    const made = element("div", { class: "choice", hidden: true, "aria-live": "polite" });
    this.onChoice.push(() => {
      const trial = this.trials.find((each) => each.number === this.chosen);
      made.hidden = !trial;
      if (!trial) return;
      const chosen = Object.entries(trial.settings).map(([name, value]) => `${name} ${short(value)}`);
      made.replaceChildren(
        element("strong", {}, `trial ${trial.number}`),
        ` ${trial.state}, ${this.plain.metric} ${number(trial.value)} at epoch ${short(trial.best_epoch)}, `,
        `${duration(trial.seconds)}: ${chosen.join(", ")}. `,
        element("code", {}, `rnnexp show ${this.plain.name} ${trial.number}`),
        " ",
        element("button", { type: "button", onclick: () => this.choose(trial.number) }, "unmark"),
      );
    });
    return made;
  }
}
