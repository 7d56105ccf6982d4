package datafile

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// sampleRows is how many rows of a sample decide on a column's encoding.
const sampleRows = 256

// encoding returns how column i of a file is encoded whose first rows are sample; nil is plain. A dictionary pays if values repeat. Of
// those that do not, integers and times are mostly near the one before.
func (c *column) encoding(i int, sample *Batch) encoding.Encoding {
	switch c.leaf {
	case leafInt32, leafInt64, leafBytes:
	default:
		return nil
	}
	if sample == nil || c.typ.Elem != nil {
		return nil
	}
	values := sample.columns[i]
	if repeats(values[:min(len(values), sampleRows)]) {
		return &parquet.RLEDictionary
	}
	if c.leaf == leafBytes {
		return nil
	}
	return &parquet.DeltaBinaryPacked
}

// repeats reports whether at most half of the values that are not NULL are different.
func repeats(values []parquet.Value) bool {
	if len(values) == 0 {
		return false
	}
	present, integers, texts := 0, map[int64]struct{}{}, map[string]struct{}{}
	for _, v := range values {
		switch v.Kind() {
		case parquet.Int32:
			integers[int64(v.Int32())] = struct{}{}
		case parquet.Int64:
			integers[v.Int64()] = struct{}{}
		case parquet.ByteArray:
			texts[string(v.ByteArray())] = struct{}{}
		default:
			continue
		}
		present++
	}
	return 2*(len(integers)+len(texts)) <= present
}
