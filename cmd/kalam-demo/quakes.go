package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"kalamlog.dev/kalam/api/wire"
)

const liveSQL = `SELECT id, magnitude, place FROM demo.quakes WHERE magnitude >= 4.5`

func (d *demo) createTables(ctx context.Context) error {
	_, err := d.server.SQL(ctx, `
		CREATE SCHEMA demo;
		CREATE TABLE demo.quakes (
			id TEXT PRIMARY KEY, time TIMESTAMPTZ NOT NULL, magnitude DOUBLE NOT NULL, place TEXT, kind TEXT, status TEXT,
			longitude DOUBLE, latitude DOUBLE, depth DOUBLE);
		CREATE TABLE demo.flights (
			origin TEXT, id BIGINT, date TIMESTAMP NOT NULL, delay BIGINT, distance BIGINT, destination TEXT NOT NULL,
			PRIMARY KEY (origin, id)) WITH (sharding = 'alphabetic')`)
	if err != nil {
		return err
	}
	d.say("   demo.quakes keyed by event id, demo.flights keyed by (origin, id) and sharded by the origin's first letter")
	d.quakes, err = d.set.Quakes()
	return err
}

// streamQuakes sends the events in the order they happened, and expects the live query to see those of 4.5 and above in that order.
func (d *demo) streamQuakes(ctx context.Context) error {
	var err error
	if d.live, err = d.subscribe(ctx, liveSQL, ""); err != nil {
		return err
	}
	d.say("   SUBSCRIBE TO %s", liveSQL)
	for _, kind := range []string{"subscribed", "ready"} {
		if _, err := d.live.awaitKind(ctx, kind); err != nil {
			return err
		}
	}
	began := time.Now()
	strong, err := d.sendQuakes(ctx)
	if err != nil {
		return err
	}
	d.say("   %d earthquakes sent one request each in %v", len(d.quakes), time.Since(began).Round(time.Millisecond))
	seen := map[string]bool{}
	for range strong {
		e, err := d.live.awaitKind(ctx, "insert")
		if err != nil {
			return err
		}
		var row struct{ ID string }
		if err := json.Unmarshal(e.Row, &row); err != nil {
			return err
		}
		seen[row.ID] = true
	}
	if err := check(d, "matching earthquakes that the live query received", len(seen), strong); err != nil {
		return err
	}
	n, err := d.count(ctx, `SELECT count(*) FROM demo.quakes`)
	if err != nil {
		return err
	}
	return check(d, "rows of demo.quakes", n, int64(len(d.quakes)))
}

// sendQuakes writes each event in a request of its own and returns how many match the live query.
func (d *demo) sendQuakes(ctx context.Context) (strong int, err error) {
	for _, q := range d.quakes {
		body, err := json.Marshal(q)
		if err != nil {
			return 0, err
		}
		var reply wire.WriteReply
		path := "/v1/tables/demo/quakes/rows?mode=insert"
		if err := d.server.Call(ctx, http.MethodPost, path, "application/json", bytes.NewReader(body), nil, &reply); err != nil {
			return 0, fmt.Errorf("send %s: %w", q.ID, err)
		}
		if q.Magnitude >= 4.5 {
			strong++
		}
	}
	return strong, nil
}

// reviseQuakes lowers three strong earthquakes below the filter and raises a weak one above it, as agencies do in the hours after an event.
func (d *demo) reviseQuakes(ctx context.Context) error {
	var strong, weak []string
	for _, q := range d.quakes {
		if q.Magnitude >= 4.5 {
			strong = append(strong, q.ID)
		} else {
			weak = append(weak, q.ID)
		}
	}
	for _, id := range strong[:3] {
		if err := d.revise(ctx, id, 4.3, "delete", "leave"); err != nil {
			return err
		}
	}
	if err := d.revise(ctx, weak[0], 4.6, "insert", "enter"); err != nil {
		return err
	}
	if err := d.revise(ctx, strong[3], 5.9, "update", ""); err != nil {
		return err
	}
	n, err := d.count(ctx, `SELECT count(*) FROM demo.quakes WHERE magnitude >= 4.5`)
	if err != nil {
		return err
	}
	return check(d, "matching rows after the revisions, by SELECT", n, int64(len(strong)-3+1))
}

// revise updates one magnitude and checks the event that the live query gives for it.
func (d *demo) revise(ctx context.Context, id string, magnitude float64, kind, transition string) error {
	if _, err := d.server.SQL(ctx, `UPDATE demo.quakes SET magnitude = $1 WHERE id = $2`, magnitude, id); err != nil {
		return err
	}
	e, err := d.live.awaitKind(ctx, kind)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s revised to %.1f shows as", id, magnitude)
	if transition == "" {
		return check(d, what, e.kind, kind)
	}
	return check(d, what, e.Transition, transition)
}

// count runs a query that gives one integer.
func (d *demo) count(ctx context.Context, sql string, params ...any) (int64, error) {
	results, err := d.server.SQL(ctx, sql, params...)
	if err != nil {
		return 0, err
	}
	var n int64
	err = json.Unmarshal(results[0].Rows[0][0], &n)
	return n, err
}
