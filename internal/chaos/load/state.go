package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/chaos/history"
)

// Rows are the rows of a table as one node serves them.
type Rows struct {
	Values map[string]string // by key
	// Ends are the offsets after the last change of each partition, as its newest row tells.
	Ends map[int32]int64
}

// ReadTable reads all rows through one node, at a position that covers everything acknowledged.
func (l *Load) ReadTable(ctx context.Context, node int, table string) (Rows, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body := marshal(wire.SQLRequest{
		SQL: fmt.Sprintf("SELECT *, _partition, _offset FROM %s", l.table(table)), AtLeast: l.board.read(),
	})
	var reply wire.SQLReply
	err := l.targets[node].client.Call(ctx, http.MethodPost, "/v1/sql", "application/json", bytes.NewReader(body), nil, &reply)
	if err != nil {
		return Rows{}, fmt.Errorf("read %s at node %d: %w", table, l.targets[node].ID, err)
	}
	rows := Rows{Values: map[string]string{}, Ends: map[int32]int64{}}
	for p := range int32(partitions) {
		rows.Ends[p] = 0
	}
	for _, row := range reply.Results[0].Rows {
		if err := rows.add(row); err != nil {
			return Rows{}, fmt.Errorf("read %s at node %d: %w", table, l.targets[node].ID, err)
		}
	}
	return rows, nil
}

// add takes in a row: id, value, partition, offset.
func (r *Rows) add(row []json.RawMessage) error {
	key, value := text(row[0]), text(row[1])
	if _, twice := r.Values[key]; twice {
		return fmt.Errorf("row %s twice", key)
	}
	r.Values[key] = value
	p, err := strconv.ParseInt(string(row[2]), 10, 32)
	if err != nil {
		return err
	}
	offset, err := strconv.ParseInt(string(row[3]), 10, 64)
	if err != nil {
		return err
	}
	r.Ends[int32(p)] = max(r.Ends[int32(p)], offset+1)
	return nil
}

// text is a JSON value as the history writes it: text without quotes, numbers as they are.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// Tables are the tables of a load.
func Tables() []string { return []string{history.Events, history.Registers, history.Counters} }
