/* How sure the ranking is: the result of `rnnexp certify`. */

function certificatePart(study) {
  const found = study.plain.certificate;
  if (!found) return [];
  const ordered = [...found.configurations].sort((a, b) => study.sign * (b.mean - a.mean));
  const names = ordered.map((each) => each.name);
  const seeds = ordered.flatMap(({ name, values }) => values.map((value, place) => ({ name, value, seed: found.seeds[place] })));
  const picture = study.picture(
    "values of the certified configurations on each seed",
    "low",
    () => [
      {
        type: "scatter",
        mode: "markers",
        name: "one seed",
        x: seeds.map((each) => each.value),
        y: seeds.map((each) => each.name),
        text: seeds.map((each) => `${each.name}<br>seed ${each.seed}: ${number(each.value)}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: { size: 9, color: color("accent"), opacity: 0.6 },
      },
      {
        type: "scatter",
        mode: "markers",
        name: "mean",
        x: ordered.map((each) => each.mean),
        y: names,
        hovertemplate: "mean %{x:.4f}<extra></extra>",
        marker: { size: 22, symbol: "line-ns-open", color: color("best"), line: { width: 3 } },
      },
    ],
    () => ({ showlegend: true, xaxis: named(found.metric), yaxis: { autorange: "reversed" } }),
  );
  picture.node.style.height = `${9 + 2.5 * ordered.length}rem`;
  const columns = ["comparison", "mean difference", "95%", "p (Holm)", "better on", "would have been seen", "verdict"];
  const rows = found.comparisons.map((one) => [
    `${found.configurations[one.first].name} – ${found.configurations[one.second].name}`,
    number(one.difference),
    one.interval.map((end) => number(end)).join(" to "),
    number(one.p, 3),
    percent(one.share_better),
    number(one.detectable),
    one.is_decided ? "better" : "not decided",
  ]);
  return [
    title("How sure the ranking is"),
    note(`The best configurations, trained again on ${plural(found.seeds.length, "fresh seed")} that they share.`),
    picture.node,
    ...(rows.length ? [table(columns, rows)] : []),
  ];
}
