package datafile

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// WriterOptions configures a Writer. Zero means default.
type WriterOptions struct {
	RowGroupRows  int64 // rows of a row group, default 122,880, which is DuckDB's
	RowGroupBytes int64 // encoded bytes at which a row group ends early, default 32 MiB
	PageBytes     int   // size of a page before compression, default 128 KiB
}

func (o *WriterOptions) setDefaults() {
	if o.RowGroupRows == 0 {
		o.RowGroupRows = 122_880
	}
	if o.RowGroupBytes == 0 {
		o.RowGroupBytes = 32 << 20
	}
	if o.PageBytes == 0 {
		o.PageBytes = 128 << 10
	}
}

// dictionaryBytes is the size at which a column's dictionary is given up for the rest of the row group.
const dictionaryBytes = 128 << 10

// Writer writes one file. It is not safe for concurrent use.
type Writer struct {
	options   WriterOptions
	out       *parquet.GenericWriter[any]
	columns   []*parquet.ColumnWriter
	rows      int64
	groupRows int64
	flushed   int64 // bytes written out
	buffered  int64
}

// NewWriter returns a Writer that writes to out. The file is complete after Close. sample, which may be nil, is not written: the columns'
// encodings are chosen by its rows.
func NewWriter(l *Layout, out io.Writer, sample *Batch, o WriterOptions) *Writer {
	o.setDefaults()
	w := parquet.NewGenericWriter[any](out, l.schema(sample),
		parquet.CreatedBy("kalam", "1", ""),
		parquet.Compression(&parquet.Snappy),
		parquet.PageBufferSize(o.PageBytes),
		parquet.DataPageStatistics(false), // the column index has them
		parquet.DictionaryMaxBytes(dictionaryBytes),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending(PartitionColumn), parquet.Ascending(OffsetColumn))),
	)
	return &Writer{options: o, out: w, columns: w.ColumnWriters()}
}

// Write adds the rows of b, which keeps them.
func (w *Writer) Write(b *Batch) error {
	for i, c := range w.columns {
		if _, err := c.WriteRowValues(b.columns[i]); err != nil {
			return fmt.Errorf("write column %d: %w", i, err)
		}
	}
	w.rows += int64(b.rows)
	w.groupRows += int64(b.rows)
	w.buffered = w.out.Size() - w.flushed
	if w.groupRows >= w.options.RowGroupRows || w.buffered >= w.options.RowGroupBytes {
		return w.EndRowGroup()
	}
	return nil
}

// Rows returns how many rows were written.
func (w *Writer) Rows() int64 { return w.rows }

// Buffered returns about how many bytes the row group in progress holds in memory.
func (w *Writer) Buffered() int64 { return w.buffered }

// EndRowGroup writes out what is buffered as a row group.
func (w *Writer) EndRowGroup() error {
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write row group: %w", err)
	}
	w.groupRows, w.buffered, w.flushed = 0, 0, w.out.Size()
	return nil
}

// Close completes the file. It does not close the io.Writer.
func (w *Writer) Close() error {
	if err := w.out.Close(); err != nil {
		return fmt.Errorf("write footer: %w", err)
	}
	return nil
}
