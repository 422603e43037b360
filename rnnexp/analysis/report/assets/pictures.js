/* Pictures: Plotly's, in the colors of the theme, redrawn when the theme or the marked trial changes. */

const pictures = [];

class Picture {
  /* `traces` and `layout` return what Plotly draws; `onTrial` is called with the number of a clicked trial. */
  constructor(label, className, traces, layout, onTrial = () => {}) {
    this.node = element("div", { class: `plot ${className}`, role: "img", "aria-label": label });
    this.traces = traces;
    this.layout = layout;
    this.onTrial = onTrial;
    this.isDrawn = false;
    pictures.push(this);
  }

  draw() {
    Plotly.react(this.node, this.traces(), this.styled(this.layout()), { responsive: true, displayModeBar: false });
    if (this.isDrawn) return;
    this.isDrawn = true;
    this.node.on("plotly_click", (event) => {
      const trial = event.points.map((point) => point.customdata).find((data) => Number.isInteger(data));
      if (trial !== undefined) this.onTrial(trial);
    });
  }

  styled(layout) {
    const line = color("line");
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    const made = { hovermode: "closest", showlegend: false, xaxis: {}, yaxis: {}, ...layout };
    for (const name of Object.keys(made)) if (/^[xy]axis/.test(name)) made[name] = { ...axis, ...made[name] };
    const top = made.showlegend ? (isNarrow() ? 64 : 34) : 16;
    return {
      ...made,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: color("ink"), size: 12, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: color("raised"), bordercolor: line, font: { color: color("ink") } },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      margin: { l: 60, r: 16, t: top, b: 46, ...layout.margin },
    };
  }
}

function drawAll() {
  for (const picture of pictures) if (picture.node.isConnected) picture.draw();
}

/* Pictures are drawn when they come near the window, so a long page is usable at once. */
const nearWindow = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      nearWindow.unobserve(entry.target);
      pictures.find((picture) => picture.node === entry.target).draw();
    }
  },
  { rootMargin: "600px" },
);

window.addEventListener("beforeprint", drawAll);

/* Returns a trace with a point for each trial; `x`, `y` and `text` return what belongs to a trial. */
function points(study, trials, x, y, { text = (trial) => study.describe(trial), size = 8, ...rest } = {}) {
  return {
    type: "scatter",
    mode: "markers",
    x: trials.map(x),
    y: trials.map(y),
    customdata: trials.map((trial) => trial.number),
    text: trials.map(text),
    hovertemplate: "%{text}<extra></extra>",
    marker: {
      size: trials.map((trial) => (trial.number === study.chosen ? size + 5 : size)),
      color: trials.map((trial) => study.colorOf(trial)),
      symbol: trials.map((trial) => (trial.state === "PRUNED" ? "circle-open" : "circle")),
      line: { width: 1, color: color("ground") },
    },
    ...rest,
  };
}

/* Returns a trace with a line for each trial; `places` returns the [x, y, text] of the points of its line. */
function lines(trials, places, { width, shade, dash = "solid", opacity = 1 }) {
  const [x, y, customdata, text] = [[], [], [], []];
  for (const trial of trials) {
    for (const [across, up, words] of [...places(trial), [null, null, ""]]) {
      x.push(across);
      y.push(up);
      text.push(words);
      customdata.push(across === null ? null : trial.number);
    }
  }
  return {
    type: "scatter",
    mode: "lines+markers",
    x,
    y,
    customdata,
    text,
    hovertemplate: "%{text}<extra></extra>",
    opacity,
    line: { width, color: shade, dash },
    marker: { size: width + 2, color: shade },
  };
}

/* Returns the best value so far after each of some trials. */
function bestSoFar(study, trials) {
  let best = null;
  return trials.map((trial) => {
    if (best === null || study.sign * (trial.value - best) > 0) best = trial.value;
    return best;
  });
}

/* Returns the axis of a setting or of the epochs. */
function named(text, rest = {}) {
  return { title: { text }, ...rest };
}
