/* The page: studies side by side, then each of them. */

function sideBySide(studies) {
  if (studies.length < 2) return [];
  const shades = ["accent", "best", "pruned", "failed", "quiet"];
  const { metric } = studies[0].plain;
  const traces = () =>
    studies.map((study, place) => {
      const ordered = study.trials.filter((trial) => trial.value !== null && trial.ended !== null).sort((a, b) => a.ended - b.ended);
      const dash = place >= shades.length ? "dot" : "solid";
      return {
        type: "scatter",
        mode: "lines",
        name: study.plain.name,
        x: ordered.map((trial) => trial.ended / 60),
        y: bestSoFar(study, ordered),
        line: { shape: "hv", width: 2, color: color(shades[place % shades.length]), dash },
      };
    });
  const layout = () => ({ showlegend: true, xaxis: named("minutes since the start of each study"), yaxis: named(metric) });
  const picture = new Picture("best value so far of each study", "low", traces, layout);
  const rows = studies
    .filter((study) => study.best)
    .sort((a, b) => a.sign * (b.best.value - a.best.value))
    .map((study) => {
      const seconds = study.trials.reduce((sum, trial) => sum + (trial.seconds ?? 0), 0);
      return [study.plain.name, study.trials.length, study.best.number, number(study.best.value), duration(seconds)];
    });
  return [element("h2", {}, "Side by side"), picture.node, table(["study", "trials", "best trial", metric, "time"], rows)];
}

function setTheme(theme) {
  root.dataset.theme = theme;
  drawAll();
}

function render() {
  root.dataset.theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const change = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  const studies = content.studies.map((plain) => new Study(plain));
  document.getElementById("report").replaceChildren(
    element(
      "div",
      { class: "top" },
      element("h1", {}, content.title),
      element("button", { type: "button", class: "theme", onclick: change }, "light / dark"),
    ),
    ...sideBySide(studies),
    ...studies.map((study) => study.render()),
  );
  for (const picture of pictures) nearWindow.observe(picture.node);
  root.dataset.ready = "true";
}

render();
