//! What `/metrics` of our services says, read back: names, labels and values of the Prometheus text format.

/// One reading of a service's metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    /// As written: `outcome="settled"`.
    labels: String,
    value: f64,
}

impl Metrics {
    /// Lines that are no samples are left out.
    pub(crate) fn read(text: &str) -> Self {
        Self(text.lines().filter_map(Sample::read).collect())
    }

    /// The sum over all label sets of a name that hold `label` (all of them when it is empty); nothing when there is no
    /// such sample.
    pub(crate) fn sum(&self, name: &str, label: &str) -> Option<f64> {
        let found = |sample: &&Sample| sample.name == name && sample.labels.contains(label);
        let mut values = self.0.iter().filter(found).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        // Values of labels may hold blanks; the value itself comes last.
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        Some(Self {
            name: name.to_owned(),
            labels: labels.to_owned(),
            value: value.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_summed_up() {
        let metrics = Metrics::read(
            "# TYPE ends counter\nends{outcome=\"settled\",to=\"a b\"} 3\nends{outcome=\"refused\"} 2\nopen 1.5\n\nbroken {\n",
        );
        assert_eq!(metrics.sum("ends", ""), Some(5.0));
        assert_eq!(metrics.sum("ends", "outcome=\"settled\""), Some(3.0));
        assert_eq!(metrics.sum("open", ""), Some(1.5));
        assert_eq!(metrics.sum("closed", ""), None);
    }
}
