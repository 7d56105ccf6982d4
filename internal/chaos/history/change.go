package history

// Change is an entry of a table's log as it was read at the end.
type Change struct {
	Key   string
	Value string
	Gone  bool // a delete
}

// Log is the changes of a table by partition; the index is the offset.
type Log map[int32][]Change

// Fold returns the rows that the log leaves, by key.
func (l Log) Fold() map[string]string {
	rows := map[string]string{}
	for _, changes := range l {
		for _, c := range changes {
			if c.Gone {
				delete(rows, c.Key)
			} else {
				rows[c.Key] = c.Value
			}
		}
	}
	return rows
}
