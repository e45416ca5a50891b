//! The progress of a pull, in docker's words.

use proto::control as api;
use proto::control::layer_progress::Phase;

use super::{Look, Row, Size};
use crate::output::size;
use crate::output::text::{fit, single_line};

/// Layers beyond this number are not shown; images have at most 127.
const MAX_LAYERS: usize = 1024;
/// Characters of a digest that identify a layer.
const ID_CHARACTERS: usize = 12;
/// What the bar of a layer takes, apart from its ends.
const BAR: usize = 50;
/// A screen needs more columns than this to have bars.
const MIN_BAR_COLUMNS: usize = 110;

/// A pull: its layers in the order in which they were first mentioned.
#[derive(Debug, Default)]
pub(crate) struct Pull {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    id: String,
    phase: Phase,
    current_bytes: u64,
    total_bytes: u64,
}

impl Pull {
    /// Takes in how far a layer is; returns the line that a log has for it, if it came a step further.
    pub(crate) fn update(&mut self, progress: &api::LayerProgress) -> Option<String> {
        let id = short_id(&progress.digest);
        let phase = progress.phase();
        let known = self.layers.iter().position(|layer| layer.id == id);
        if known.is_none() && self.layers.len() >= MAX_LAYERS {
            return None;
        }
        let at = known.unwrap_or_else(|| {
            self.layers.push(Layer { id, phase, current_bytes: 0, total_bytes: 0 });
            self.layers.len() - 1
        });
        let layer = &mut self.layers[at];
        let is_news = known.is_none() || log_words(layer.phase) != log_words(phase);
        layer.phase = phase;
        (layer.current_bytes, layer.total_bytes) = (progress.current_bytes, progress.total_bytes);
        is_news.then(|| format!("{}: {}", layer.id, log_words(phase)))
    }

    /// Completes all layers: the daemon may have left out what it could not tell in time. Returns their lines for a log.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        let open = self.layers.iter_mut().filter(|layer| !is_complete(layer.phase));
        open.map(|layer| {
            layer.phase = Phase::Done;
            format!("{}: {}", layer.id, words(layer.phase))
        })
        .collect()
    }

    /// Draws the pull: all layers if they fit on the screen, else those that are not complete first.
    pub(crate) fn frame(&self, size: Size) -> Vec<Row> {
        let room = size.rows.saturating_sub(1);
        let mut shown: Vec<usize> = (0..self.layers.len()).collect();
        shown.sort_by_key(|&at| is_complete(self.layers[at].phase));
        shown.truncate(room);
        shown.sort_unstable();
        shown.into_iter().map(|at| self.layers[at].row(size.columns)).collect()
    }
}

impl Layer {
    fn row(&self, columns: usize) -> Row {
        let mut text = format!("{}: {}", self.id, words(self.phase));
        if matches!(self.phase, Phase::Downloading | Phase::Unpacking) {
            let bar = if columns > MIN_BAR_COLUMNS { self.bar() } else { String::new() };
            text = format!("{text} {bar}{}", self.bytes());
        }
        let look = if is_complete(self.phase) { Look::Done } else { Look::Plain };
        Row { text: fit(text.trim_end(), columns.saturating_sub(1)).to_owned(), look }
    }

    fn bytes(&self) -> String {
        match (self.current_bytes, self.total_bytes) {
            (0, 0) => String::new(),
            (current, total) if total < current => format!("{:>8}", size::long(current)),
            (current, total) => format!("{:>8}/{}", size::long(current), size::long(total)),
        }
    }

    fn bar(&self) -> String {
        if self.total_bytes == 0 {
            return String::new();
        }
        let share = u128::from(self.current_bytes) * BAR as u128 / u128::from(self.total_bytes);
        let done = usize::try_from(share).map_or(BAR, |done| done.min(BAR));
        format!("[{}>{}] ", "=".repeat(done), " ".repeat(BAR - done))
    }
}

fn short_id(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    single_line(&hex.chars().take(ID_CHARACTERS).collect::<String>()).into_owned()
}

const fn is_complete(phase: Phase) -> bool {
    matches!(phase, Phase::Done | Phase::Exists)
}

const fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "Pulling fs layer",
        Phase::Downloading => "Downloading",
        Phase::Unpacking => "Extracting",
        Phase::Done => "Pull complete",
        Phase::Exists => "Already exists",
    }
}

/// Returns what a log says of a phase: of a transfer only that it began and that it is over.
const fn log_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting | Phase::Downloading => words(Phase::Waiting),
        Phase::Unpacking => "Download complete",
        Phase::Done | Phase::Exists => words(phase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Size = Size { columns: 120, rows: 24 };

    fn progress(digest: &str, phase: Phase, current_bytes: u64, total_bytes: u64) -> api::LayerProgress {
        api::LayerProgress {
            digest: format!("sha256:{}", digest.repeat(32)),
            phase: phase.into(),
            current_bytes,
            total_bytes,
        }
    }

    #[test]
    fn the_log() {
        let mut pull = Pull::default();
        let mut log = Vec::new();
        for event in [
            progress("ab", Phase::Waiting, 0, 0),
            progress("cd", Phase::Exists, 0, 0),
            progress("ab", Phase::Downloading, 1, 10),
            progress("ab", Phase::Downloading, 9, 10),
            progress("ef", Phase::Downloading, 0, 10),
            progress("ab", Phase::Unpacking, 0, 10),
            progress("ab", Phase::Done, 10, 10),
        ] {
            log.extend(pull.update(&event));
        }
        log.extend(pull.finish());
        let expected = [
            "abababababab: Pulling fs layer",
            "cdcdcdcdcdcd: Already exists",
            "efefefefefef: Pulling fs layer",
            "abababababab: Download complete",
            "abababababab: Pull complete",
            "efefefefefef: Pull complete",
        ];
        assert_eq!(log, expected);
        assert_eq!(pull.finish(), [""; 0]);
    }

    #[test]
    fn rows_of_a_screen() {
        let half = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        let full = format!("[{}>]", "=".repeat(50));
        let rows = [
            (progress("ab", Phase::Waiting, 0, 0), 120, "abababababab: Pulling fs layer".to_owned()),
            (
                progress("ab", Phase::Downloading, 6_172_500, 12_345_000),
                120,
                format!("abababababab: Downloading {half}  6.173MB/12.35MB"),
            ),
            (
                progress("ab", Phase::Downloading, 6_172_500, 12_345_000),
                80,
                "abababababab: Downloading  6.173MB/12.35MB".into(),
            ),
            (
                progress("ab", Phase::Unpacking, 20, 10),
                120,
                format!("abababababab: Extracting {full}      20B"),
            ),
            (progress("ab", Phase::Unpacking, 0, 0), 120, "abababababab: Extracting".into()),
            (progress("ab", Phase::Done, 1, 1), 20, "abababababab: Pull ".into()),
            (
                progress("ab", Phase::Downloading, u64::MAX, u64::MAX),
                120,
                format!("abababababab: Downloading {full}  18.45EB/18.45EB"),
            ),
        ];
        for (event, columns, expected) in rows {
            let mut pull = Pull::default();
            pull.update(&event);
            let frame = pull.frame(Size { columns, rows: 24 });
            assert_eq!(frame[0].text, expected);
        }
    }

    #[test]
    fn what_is_complete_leaves_a_low_screen_first() {
        let mut pull = Pull::default();
        for (digest, phase) in
            [("ab", Phase::Done), ("cd", Phase::Waiting), ("ef", Phase::Exists), ("01", Phase::Waiting)]
        {
            pull.update(&progress(digest, phase, 0, 0));
        }
        let ids = |rows| {
            pull.frame(Size { rows, ..WIDE }).iter().map(|row| row.text[..2].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(24), ["ab", "cd", "ef", "01"]);
        assert_eq!(ids(4), ["ab", "cd", "01"]);
        assert_eq!(ids(3), ["cd", "01"]);
        assert_eq!(ids(0), [""; 0]);
    }

    #[test]
    fn odd_digests() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("\x1b[31mx"), " [31mx");
        let mut pull = Pull::default();
        let many = (0..MAX_LAYERS + 9).filter_map(|number| {
            pull.update(&api::LayerProgress { digest: number.to_string(), ..Default::default() })
        });
        assert_eq!(many.count(), MAX_LAYERS);
    }
}
