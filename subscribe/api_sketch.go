// Package subscribe serves live queries: the rows that match a filter at one position, then every change that concerns them, exactly once and in order.
package subscribe

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// This file holds the agreed signatures until their real files exist; it is deleted by whoever implements them.

type Options struct {
	Log          *log.Log
	Materializer *materializer.Materializer
	Clock        clock.Clock
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
	BufferBytes  int // per subscriber, default 1 MiB
}

// Registry starts and ends subscriptions. Safe for concurrent use.
type Registry struct{}

func New(o Options) *Registry    { panic("todo") }
func (r *Registry) Close() error { panic("todo") } // ends every subscription, waits

type Request struct {
	SQL       string
	Params    []expr.Value
	Namespace string
	From      *log.Position // resume after it; nil: from now, with initial rows if Snapshot
	Snapshot  bool
	LastRows  int // of a stream or table: only the newest n as initial rows; 0: all
	AtLeast   log.Position
}

// EventType as in the public interface.
type EventType string

const (
	Subscribed EventType = "subscribed"
	InitialRow EventType = "row"
	Ready      EventType = "ready"
	Inserted   EventType = "insert"
	Updated    EventType = "update"
	Deleted    EventType = "delete"
	Progress   EventType = "progress"
	Reset      EventType = "reset"
	Failed     EventType = "error"
)

// Event is one thing a subscriber is told. Cursor is set on the events that move the subscriber's resume point, zero otherwise.
type Event struct {
	Type   EventType
	Cursor log.Position
	Data   []byte // JSON payload of the public interface
}

// Subscribe compiles the query and starts it. What cannot be evaluated live is refused here with a *problem.Error. ctx ends the subscription.
func (r *Registry) Subscribe(ctx context.Context, q Request) (*Subscription, error) { panic("todo") }

type Subscription struct{}

// Next waits for the next events, at least one, in order. After an error (or a Failed event) the subscription has ended. Used by one goroutine.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) { panic("todo") }
func (s *Subscription) ID() string                                { panic("todo") }
func (s *Subscription) Close()                                    { panic("todo") }
