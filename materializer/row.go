package materializer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// rowFormat is the first byte of every encoded row.
const rowFormat = 1

// ErrDamaged reports bytes that are no row, key, change or batch of ours.
var ErrDamaged = errors.New("materializer: damaged encoding")

// EncodeRow appends the row of values, which are of the columns' types and in their order, to dst. The error is a *problem.Error: NotNull,
// TypeMismatch or OutOfRange. Equal values give equal bytes.
func EncodeRow(dst []byte, s *Schema, values []expr.Value) ([]byte, error) {
	if len(values) != len(s.Columns) {
		return nil, problem.New(problem.TypeMismatch, "a row of %d values for %d columns", len(values), len(s.Columns))
	}
	l := layoutOf(s)
	start := len(dst)
	dst = slices.Grow(dst, l.variable+l.textBytes(values))[:start+l.variable]
	clear(dst[start:])
	copy(dst[start:], l.header)
	for i := range l.slots {
		v := values[i]
		if v.IsNull() {
			if s.Columns[i].NotNull {
				return nil, problem.New(problem.NotNull, "column %q must not be NULL", s.Columns[i].Name)
			}
			dst[start+l.bitmap+i/8] |= 1 << (i % 8)
		}
		var err error
		if dst, err = l.put(dst, start, i, v); err != nil {
			return nil, inColumn(s.Columns[i].Name, err)
		}
	}
	return dst, nil
}

// textBytes returns what the texts among values will take.
func (l *layout) textBytes(values []expr.Value) int {
	n := 0
	for i := range l.slots {
		switch values[i].Kind() {
		case expr.Text, expr.JSON, expr.Blob:
			n += len(values[i].Str())
		default:
		}
	}
	return n
}

// inColumn says in a refusal which column it is about.
func inColumn(name string, err error) error {
	p := problem.As(err)
	if p == nil {
		return fmt.Errorf("column %q: %w", name, err)
	}
	c := *p
	c.Message = fmt.Sprintf("column %q: %s", name, p.Message)
	return &c
}

// put writes the value of column i into the row that begins at start.
func (l *layout) put(dst []byte, start, i int, v expr.Value) ([]byte, error) {
	sl := &l.slots[i]
	if sl.width != 0 {
		if v.IsNull() {
			return dst, nil
		}
		return dst, sl.putFixed(dst[start+sl.at:start+sl.at+int(sl.width)], v)
	}
	switch {
	case v.IsNull():
	case v.Kind() != sl.kind:
		return nil, wrongKind(sl.kind, v)
	case sl.kind == expr.List:
		dst = expr.AppendValue(dst, v)
	default:
		dst = append(dst, v.Str()...)
	}
	end := len(dst) - start - l.variable
	if end > math.MaxUint32 {
		return nil, problem.New(problem.BodyTooLarge, "a row of %d bytes", end)
	}
	binary.LittleEndian.PutUint32(dst[start+l.ends+4*sl.at:], uint32(end))
	return dst, nil
}

func wrongKind(want expr.Kind, v expr.Value) error {
	return problem.New(problem.TypeMismatch, "a value of type %s where %s is due", expr.Type{Kind: v.Kind()}, expr.Type{Kind: want})
}

func (sl *slot) putFixed(b []byte, v expr.Value) error {
	if v.Kind() != sl.kind {
		return wrongKind(sl.kind, v)
	}
	switch sl.kind {
	case expr.Bool:
		if v.Bool() {
			b[0] = 1
		}
	case expr.SmallInt:
		binary.LittleEndian.PutUint16(b, uint16(v.Int()))
	case expr.Integer, expr.Date:
		if int64(int32(v.Int())) != v.Int() {
			return problem.New(problem.OutOfRange, "%d does not fit", v.Int())
		}
		binary.LittleEndian.PutUint32(b, uint32(v.Int()))
	case expr.Real:
		binary.LittleEndian.PutUint32(b, math.Float32bits(float32(oneNaN(v.Float()))))
	case expr.Double:
		binary.LittleEndian.PutUint64(b, math.Float64bits(oneNaN(v.Float())))
	case expr.Decimal:
		return sl.putDecimal(b, v)
	case expr.UUID:
		u := v.UUIDBytes()
		copy(b, u[:])
	default:
		binary.LittleEndian.PutUint64(b, uint64(v.Int()))
	}
	return nil
}

// oneNaN replaces every NaN by the same one.
func oneNaN(f float64) float64 {
	if f != f {
		return math.NaN()
	}
	return f
}

func (sl *slot) putDecimal(b []byte, v expr.Value) error {
	hi, lo, scale := v.DecimalParts()
	if scale != sl.scale {
		return problem.New(problem.TypeMismatch, "a decimal of scale %d where %d is due", scale, sl.scale)
	}
	binary.LittleEndian.PutUint64(b, lo)
	if sl.width == 16 {
		binary.LittleEndian.PutUint64(b[8:], hi)
	} else if hi != uint64(int64(lo)>>63) {
		return problem.New(problem.OutOfRange, "%s does not fit", v)
	}
	return nil
}

// rowVersion returns the schema version that raw says it was written in.
func rowVersion(raw []byte) (uint32, error) {
	if len(raw) < 2 || raw[0] != rowFormat {
		return 0, fmt.Errorf("row: %w", ErrDamaged)
	}
	v, n := binary.Uvarint(raw[1:])
	if n <= 0 || v == 0 || v > math.MaxUint32 {
		return 0, fmt.Errorf("row: %w", ErrDamaged)
	}
	return uint32(v), nil
}

// Row is an encoded row seen through a table's newest schema: columns added later read as their default or NULL, widened types are cast. It
// implements expr.Row. Immutable, and valid as long as the bytes it was decoded from.
type Row struct {
	raw  []byte
	view *projection
}

func decodeRow(plan *tablePlan, t *Table, raw []byte) (Row, error) {
	version, err := rowVersion(raw)
	if err != nil {
		return Row{}, err
	}
	if uint64(version) > uint64(len(plan.projections)) {
		return Row{}, fmt.Errorf("row of %s in schema version %d of %d: %w", t.QualifiedName(), version, len(plan.projections), ErrDamaged)
	}
	p := plan.projections[version-1]
	if err := p.from.check(raw); err != nil {
		return Row{}, fmt.Errorf("row of %s: %w", t.QualifiedName(), err)
	}
	return Row{raw: raw, view: p}, nil
}

// check makes sure that every column can be read.
func (l *layout) check(raw []byte) error {
	if len(raw) < l.variable || !bytes.Equal(raw[:l.bitmap], l.header) {
		return ErrDamaged
	}
	last, size := uint32(0), uint32(len(raw)-l.variable)
	for at := l.ends; at < l.variable; at += 4 {
		end := binary.LittleEndian.Uint32(raw[at:])
		if end < last || end > size {
			return ErrDamaged
		}
		last = end
	}
	if last != size {
		return ErrDamaged
	}
	for _, i := range l.lists {
		if l.isNull(raw, i) {
			continue
		}
		b := l.bytes(raw, l.slots[i].at)
		if v, n, err := expr.DecodeValue(b); err != nil || n != len(b) || v.Kind() != expr.List {
			return ErrDamaged
		}
	}
	return nil
}

func (l *layout) isNull(raw []byte, i int) bool {
	return raw[l.bitmap+i/8]&(1<<(i%8)) != 0
}

// bytes returns the variable-length column number n.
func (l *layout) bytes(raw []byte, n int) []byte {
	start := uint32(0)
	if n > 0 {
		start = binary.LittleEndian.Uint32(raw[l.ends+4*(n-1):])
	}
	end := binary.LittleEndian.Uint32(raw[l.ends+4*n:])
	return raw[l.variable+int(start) : l.variable+int(end)]
}

// value reads column i of a row that check has accepted.
func (l *layout) value(raw []byte, i int) expr.Value {
	if l.isNull(raw, i) {
		return expr.Value{}
	}
	sl := &l.slots[i]
	switch sl.kind {
	case expr.Bool:
		return expr.BoolOf(raw[sl.at] != 0)
	case expr.SmallInt:
		return expr.IntOf(sl.kind, int64(int16(binary.LittleEndian.Uint16(raw[sl.at:]))))
	case expr.Integer, expr.Date:
		return expr.IntOf(sl.kind, int64(int32(binary.LittleEndian.Uint32(raw[sl.at:]))))
	case expr.BigInt, expr.Time, expr.Timestamp, expr.TimestampTZ:
		return expr.IntOf(sl.kind, int64(binary.LittleEndian.Uint64(raw[sl.at:])))
	case expr.Real:
		return expr.FloatOf(sl.kind, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[sl.at:]))))
	case expr.Double:
		return expr.FloatOf(sl.kind, math.Float64frombits(binary.LittleEndian.Uint64(raw[sl.at:])))
	case expr.Decimal:
		return sl.decimal(raw)
	case expr.UUID:
		return expr.UUIDOf([16]byte(raw[sl.at : sl.at+16]))
	default:
		return sl.variable(l.bytes(raw, sl.at))
	}
}

func (sl *slot) decimal(raw []byte) expr.Value {
	lo := binary.LittleEndian.Uint64(raw[sl.at:])
	hi := uint64(int64(lo) >> 63)
	if sl.width == 16 {
		hi = binary.LittleEndian.Uint64(raw[sl.at+8:])
	}
	return expr.DecimalOf(hi, lo, sl.scale)
}

// variable decodes a value of variable length. Text shares b's memory: rows are immutable and copying every text that a filter looks at costs more
// than the filter.
func (sl *slot) variable(b []byte) expr.Value {
	switch sl.kind {
	case expr.Text:
		return expr.TextOf(unsafe.String(unsafe.SliceData(b), len(b)))
	case expr.JSON:
		return expr.JSONOf(unsafe.String(unsafe.SliceData(b), len(b)))
	case expr.Blob:
		return expr.BlobOf(b)
	default:
		v, _, err := expr.DecodeValue(b)
		if err != nil {
			return expr.Value{} // check has decoded it before
		}
		return v
	}
}

// Size returns the bytes that the row takes as it is stored.
func (r Row) Size() int { return len(r.raw) }

// Column returns the value of column i of the newest schema. It takes the same time for any column and allocates nothing for scalars. A text
// value shares the row's memory: whoever keeps it for longer takes Values.
func (r Row) Column(i int) expr.Value {
	c := &r.view.columns[i]
	if c.from < 0 {
		return c.missing
	}
	v := r.view.from.value(r.raw, c.from)
	if !c.cast || v.IsNull() {
		return v
	}
	return c.widen(v)
}

// Values returns all columns of the newest schema. They share no memory with the row.
func (r Row) Values() []expr.Value {
	own := Row{raw: bytes.Clone(r.raw), view: r.view}
	values := make([]expr.Value, len(r.view.columns))
	for i := range values {
		values[i] = own.Column(i)
	}
	return values
}

// Raw returns the encoded row.
func (r Row) Raw() []byte { return r.raw }

// projection reads rows of an older schema version as the newest.
type projection struct {
	from    *layout
	columns []projected
	same    bool // the newest version's own
}

// projected is one column of the newest schema.
type projected struct {
	from    int        // place in the older schema, -1: not there
	missing expr.Value // what it reads as then
	cast    bool
	to      expr.Type
}

// newProjection makes the projection from versions[i] to the last of versions. A column that versions[i] lacks reads as the default that it was
// added with, whatever its default is today.
func newProjection(versions []*Schema, i int) *projection {
	old, newest := versions[i], versions[len(versions)-1]
	p := &projection{from: layoutOf(old), same: i == len(versions)-1}
	for _, c := range newest.Columns {
		pc := projected{from: old.columnByID(c.ID), to: c.Type}
		if pc.from < 0 {
			pc.missing = addedDefault(versions[i+1:], c)
		} else {
			pc.cast = !old.Columns[pc.from].Type.Equal(c.Type)
		}
		p.columns = append(p.columns, pc)
	}
	return p
}

// addedDefault finds the version that added the column and returns its literal default as a value of the column's type now.
func addedDefault(versions []*Schema, c Column) expr.Value {
	for _, s := range versions {
		i := s.columnByID(c.ID)
		if i < 0 {
			continue
		}
		d := s.Columns[i].Default
		if d == nil || d.Func != "" {
			return expr.Value{}
		}
		v, _, err := expr.DecodeValue(d.Literal)
		if err != nil || v.IsNull() {
			return expr.Value{}
		}
		pc := projected{to: c.Type}
		return pc.widen(v)
	}
	return expr.Value{}
}

// widen casts v to the newer type. Schema changes are limited to casts that cannot fail (see checkWidening).
func (c *projected) widen(v expr.Value) expr.Value {
	w, err := expr.CastValue(v, c.to)
	if err != nil {
		return expr.Value{}
	}
	return w
}
