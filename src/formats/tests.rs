//! Tables that are written and what their bytes promise. That `datasets` reads them is tested from
//! outside.

use std::fs;
use std::path::Path;

use super::{Cell, Format, Kind, TableWriter};

const COLUMNS: &[(&str, Kind)] =
    &[("a", Kind::Text), ("n", Kind::Whole), ("x", Kind::Real), ("t", Kind::Turns)];

fn write(folder: &Path, format: Format, rows: i64) -> super::Written {
    let mut table = TableWriter::new(folder, format, COLUMNS).unwrap();
    for row in 0..rows {
        let text = format!("row {row}");
        let turns = [("user", "q"), ("assistant", text.as_str())];
        let cells = [Cell::Text(&text), Cell::Whole(row), Cell::Real(0.5), Cell::Turns(&turns)];
        table.push(if row % 7 == 3 { &[Cell::Empty; 4] } else { &cells }).unwrap();
    }
    table.finish().unwrap()
}

#[test]
fn the_same_rows_make_the_same_bytes() {
    for format in [Format::Parquet, Format::Jsonl] {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(write(&a, format, 2500), write(&b, format, 2500));
        let name = format!("train-00000-of-00001.{}", format.extension());
        let (a, b) = (fs::read(a.join(&name)).unwrap(), fs::read(b.join(&name)).unwrap());
        assert!(a == b && !a.is_empty(), "{format:?}");
    }
}

#[test]
fn jsonl_has_one_object_per_line() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(write(folder.path(), Format::Jsonl, 4).rows, 4);
    let text = fs::read_to_string(folder.path().join("train-00000-of-00001.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        r#"{"a":"row 1","n":1,"x":0.5,"t":[{"from":"user","value":"q"},{"from":"assistant","value":"row 1"}]}"#
    );
    assert_eq!(lines[3], r#"{"a":null,"n":null,"x":null,"t":null}"#);
}

#[test]
fn parquet_is_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), Format::Parquet, 10);
    let bytes = fs::read(folder.path().join("train-00000-of-00001.parquet")).unwrap();
    assert_eq!(written.file_bytes, bytes.len() as u64);
    assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
}

#[test]
fn a_cell_of_the_wrong_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = TableWriter::new(folder.path(), Format::Parquet, COLUMNS).unwrap();
    assert!(table.push(&[Cell::Whole(1); 4]).is_err());
}

#[test]
fn a_table_without_rows_has_no_files() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(write(folder.path(), Format::Jsonl, 0).rows, 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
