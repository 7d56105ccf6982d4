package cluster

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// buffer takes the output of a command.
type buffer struct {
	bytes.Buffer
	errors bytes.Buffer
}

// metrics reads the server's metrics that have no labels, by name.
func (n *Node) metrics(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Client.URL+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := n.Client.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics of node %d: %w", n.ID, err)
	}
	defer res.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.ContainsAny(name, "#{") {
			continue
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = v
		}
	}
	return values, lines.Err()
}
