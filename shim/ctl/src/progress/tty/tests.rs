use super::super::build::End;
use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const SIZE: Size = Size { columns: 60, rows: 24 };

fn texts(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.text.as_str()).collect()
}

fn end(build: &mut Build, step: u32, milliseconds: u64, outcome: Outcome) {
    build.step_finished(step, End { took: ms(milliseconds), outcome }, ms(milliseconds)).unwrap();
}

/// A build with a step in each condition.
fn sample() -> Build {
    let mut build = Build::default();
    build.step_started(1, "[internal] load build definition from Dockerfile", ms(0));
    build.step_progress(1, "transferring dockerfile:", (32, 0), ms(0));
    end(&mut build, 1, 20, Outcome::Done);
    build.step_started(2, "[build 1/3] FROM docker.io/library/golang:1.16@sha256:0123456789", ms(100));
    build.step_progress(2, "sha256:0123456789ab", (1_050_000, 2_100_000), ms(200));
    build.step_started(3, "[stage-1 1/1] WORKDIR /x", ms(150));
    end(&mut build, 3, 0, Outcome::Cached);
    build.step_started(4, "[build 2/3] RUN make", ms(1000));
    let output = format!("compiling\n\x1b[32mlinking\x1b[0m {}", "語".repeat(30));
    build.step_output(4, output.as_bytes(), ms(1500));
    build
}

#[test]
fn a_running_build() {
    let rows = frame(&sample(), ms(2000), SIZE);
    let cut = format!(" => => # linking {}", "語".repeat(21));
    let expected = [
        "[+] Building 2.0s (2/4)",
        " => [internal] load build definition from Dockerfile   0.0s",
        " => => transferring dockerfile: 32B                    0.0s",
        " => [build 1/3] FROM docker.io/library/golang:1.16@sha 1.9s",
        " => => sha256:0123456789ab 1.05MB / 2.10MB             1.8s",
        " => CACHED [stage-1 1/1] WORKDIR /x                    0.0s",
        " => [build 2/3] RUN make                               1.0s",
        " => => # compiling",
        &cut,
    ];
    assert_eq!(texts(&rows), expected);
    let looks: Vec<_> = rows.iter().map(|row| row.look).collect();
    let (plain, done, faint) = (Look::Plain, Look::Done, Look::Faint);
    assert_eq!(looks, [plain, done, done, plain, plain, done, plain, faint, faint]);
}

#[test]
fn the_last_frame_has_everything() {
    let mut build = sample();
    end(&mut build, 2, 1000, Outcome::Cancelled);
    end(&mut build, 4, 900, Outcome::Failed("exit code: 2".into()));
    let rows = last_frame(&build, ms(9000), Size { columns: 60, rows: 3 });
    assert_eq!(rows[0].text, "[+] Building 9.0s (4/4) FINISHED");
    assert_eq!(rows.len(), 7);
    assert_eq!(rows[3].text, " => CANCELED [build 1/3] FROM docker.io/library/golang 1.0s");
    assert_eq!(rows[3].look, Look::Cancelled);
    assert_eq!(rows[6].text, " => ERROR [build 2/3] RUN make                         0.9s");
    assert_eq!(rows[6].look, Look::Failed);
}

#[test]
fn an_unfinished_build_does_not_say_finished() {
    assert_eq!(last_frame(&sample(), ms(9000), SIZE)[0].text, "[+] Building 9.0s (2/4)");
    assert_eq!(texts(&last_frame(&Build::default(), ms(10), SIZE)), ["[+] Building 0.0s (0/0)"]);
}

#[test]
fn low_screens_show_what_runs() {
    let rows = frame(&sample(), ms(2000), Size { columns: 60, rows: 6 });
    let starts: Vec<_> = rows.iter().map(|row| row.text.split(' ').nth(2).unwrap_or_default()).collect();
    assert_eq!(starts, ["2.0s", "[build", "=>", "CACHED", "[build"]);
    for height in 0..30 {
        let rows = frame(&sample(), ms(2000), Size { columns: 60, rows: height });
        assert!(rows.len() < height.max(2), "{} rows on {height}", rows.len());
    }
}

#[test]
fn no_line_is_wider_than_the_screen() {
    for columns in 0..100 {
        for row in frame(&sample(), ms(2000), Size { columns, rows: 24 }) {
            assert!(width(&row.text) < columns.max(1), "{columns}: {}", row.text);
        }
    }
    let narrow = frame(&sample(), ms(2000), Size { columns: 15, rows: 24 });
    assert_eq!(narrow[0].text, "[+] Building 2");
    assert_eq!(texts(&narrow[1..]), [" => => # compi", " => => # linki"]);
}
