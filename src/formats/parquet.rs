//! Parquet files as the Hub has them: `string`, not `large_string`; `list`, not `Sequence`.
//!
//! Large types load under other names and cannot be concatenated with other people's sets, so row
//! groups stay far below the 2 GiB that 32-bit offsets reach.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow_array::builder::{
    ArrayBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Cell, Kind};

/// Rows of a row group; what the Hub's viewer expects at most.
const GROUP_ROWS: usize = 1000;

/// Bytes of text in a row group; likewise.
const GROUP_BYTES: u64 = 100 << 20;

/// A file that is being written.
pub(super) struct Part {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    columns: Vec<Column>,
    rows: usize,
    bytes: u64,
}

enum Column {
    Text(StringBuilder),
    Whole(Int64Builder),
    Real(Float64Builder),
    Turns(ListBuilder<StructBuilder>),
}

impl Part {
    pub(super) fn new(path: &Path, columns: &[(&'static str, Kind)]) -> anyhow::Result<Self> {
        let fields: Vec<Field> =
            columns.iter().map(|(name, kind)| Field::new(*name, data_type(*kind), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let file =
            File::create(path).with_context(|| format!("could not make `{}`", path.display()))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .with_context(|| format!("could not write `{}`", path.display()))?;
        let columns = columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        Ok(Self { path: path.to_path_buf(), schema, writer, columns, rows: 0, bytes: 0 })
    }

    pub(super) fn push(&mut self, row: &[Cell<'_>]) -> anyhow::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(row) {
            column.push(cell)?;
        }
        self.rows += 1;
        self.bytes += row.iter().map(Cell::bytes).sum::<u64>();
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> anyhow::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .context("could not put a row group together")?;
        self.writer
            .write(&batch)
            .and_then(|()| self.writer.flush())
            .with_context(|| format!("could not write `{}`", self.path.display()))?;
        self.rows = 0;
        self.bytes = 0;
        Ok(())
    }

    /// Ends the file; gives its size.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        self.end_group()?;
        let file = self
            .writer
            .into_inner()
            .with_context(|| format!("could not write `{}`", self.path.display()))?;
        let size = file.sync_all().and_then(|()| file.metadata()).map(|metadata| metadata.len());
        size.with_context(|| format!("could not write `{}`", self.path.display()))
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Whole => Self::Whole(Int64Builder::new()),
            Kind::Real => Self::Real(Float64Builder::new()),
            Kind::Turns => {
                let builders: Vec<Box<dyn ArrayBuilder>> =
                    vec![Box::new(StringBuilder::new()), Box::new(StringBuilder::new())];
                let turn = StructBuilder::new(turn(), builders);
                Self::Turns(ListBuilder::new(turn).with_field(item()))
            }
        }
    }

    fn push(&mut self, cell: &Cell<'_>) -> anyhow::Result<()> {
        match (self, cell) {
            (Self::Text(column), Cell::Text(text)) => column.append_value(text),
            (Self::Text(column), Cell::Empty) => column.append_null(),
            (Self::Whole(column), Cell::Whole(number)) => column.append_value(*number),
            (Self::Whole(column), Cell::Empty) => column.append_null(),
            (Self::Real(column), Cell::Real(number)) => column.append_value(*number),
            (Self::Real(column), Cell::Empty) => column.append_null(),
            (Self::Turns(column), Cell::Turns(turns)) => {
                for (from, value) in *turns {
                    let turn = column.values();
                    for (field, text) in [from, value].into_iter().enumerate() {
                        if let Some(field) = turn.field_builder::<StringBuilder>(field) {
                            field.append_value(text);
                        }
                    }
                    turn.append(true);
                }
                column.append(true);
            }
            (Self::Turns(column), Cell::Empty) => column.append(false),
            (
                Self::Text(_) | Self::Whole(_) | Self::Real(_) | Self::Turns(_),
                Cell::Text(_) | Cell::Whole(_) | Cell::Real(_) | Cell::Turns(_),
            ) => bail!("a cell is of another kind than its column"),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Whole(column) => Arc::new(column.finish()),
            Self::Real(column) => Arc::new(column.finish()),
            Self::Turns(column) => Arc::new(column.finish()),
        }
    }
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Whole => DataType::Int64,
        Kind::Real => DataType::Float64,
        Kind::Turns => DataType::List(Arc::new(item())),
    }
}

fn item() -> Field {
    Field::new("item", DataType::Struct(turn()), true)
}

fn turn() -> Fields {
    Fields::from(vec![
        Field::new("from", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, true),
    ])
}
