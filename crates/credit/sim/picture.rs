//! Line charts as SVG, for the docs.

/// One chart of several lines over the same seconds.
pub struct Chart<'a> {
    pub title: String,
    pub unit: &'a str,
    /// Top of the vertical axis.
    pub max: f64,
    pub lines: Vec<Line<'a>>,
}

/// Name, colour, and points: second and value.
pub type Line<'a> = (&'a str, &'a str, Vec<(f64, f64)>);

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 120.0;
const MARGIN: f64 = 46.0;

/// Charts in rows of `columns`.
pub fn svg(charts: &[Chart<'_>], columns: usize) -> String {
    let cell = (WIDTH + MARGIN + 14.0, HEIGHT + 44.0);
    let rows = charts.len().div_ceil(columns);
    let (width, height) = (cell.0 * columns as f64, cell.1 * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, chart) in charts.iter().enumerate() {
        let (x, y) = (cell.0 * (index % columns) as f64, cell.1 * (index / columns) as f64);
        out += &format!("<g transform=\"translate({:.0},{:.0})\">\n", x + MARGIN, y + 22.0);
        out += &chart.body();
        out += "</g>\n";
    }
    out + "</svg>\n"
}

impl Chart<'_> {
    fn body(&self) -> String {
        let end = self
            .lines
            .iter()
            .flat_map(|line| line.2.iter())
            .map(|point| point.0)
            .fold(1.0, f64::max);
        let mut out = format!("<text y=\"-8\" font-weight=\"bold\">{}</text>\n", self.title);
        for (name_x, (name, colour, _)) in
            (0..).map(|i| 200.0 + 75.0 * f64::from(i)).zip(&self.lines)
        {
            out += &format!("<text x=\"{name_x}\" y=\"-8\" fill=\"{colour}\">{name}</text>\n");
        }
        for part in 0..=4 {
            let y = HEIGHT - HEIGHT * f64::from(part) / 4.0;
            let value = self.max * f64::from(part) / 4.0;
            out += &format!("<path d=\"M0 {y:.0}H{WIDTH}\" stroke=\"#ddd\"/>");
            out += &format!(
                "<text x=\"-4\" y=\"{:.0}\" text-anchor=\"end\">{value}</text>\n",
                y + 4.0
            );
        }
        out += &format!("<text y=\"{:.0}\">0 s</text>", HEIGHT + 14.0);
        out += &format!(
            "<text x=\"{WIDTH}\" y=\"{:.0}\" text-anchor=\"end\">{end:.0} s</text>",
            HEIGHT + 14.0
        );
        out += &format!(
            "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\n",
            WIDTH / 2.0,
            HEIGHT + 14.0,
            self.unit
        );
        for (_, colour, points) in &self.lines {
            let path: Vec<String> = points
                .iter()
                .map(|(second, value)| {
                    let y = HEIGHT - HEIGHT * (value / self.max).clamp(0.0, 1.05);
                    format!("{:.1} {y:.1}", WIDTH * second / end)
                })
                .collect();
            out +=
                &format!("<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\"/>\n", path.join("L"));
        }
        out
    }
}
