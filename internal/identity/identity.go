// Package identity says on whose behalf a request runs. The doors (api, api/kafka) put a Caller into the request
// context; everything below reads it there. Until authentication exists every caller is Root.
package identity

import "context"

// Caller is the user of a request.
type Caller struct {
	Name  string // unique user name; the value of current_user_id()
	Admin bool   // sees every user's rows and may change the catalog
}

// Root is the caller of every request while there is no authentication, and of the server's own work.
var Root = Caller{Name: "root", Admin: true}

type key struct{}

// NewContext returns a context that carries c.
func NewContext(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// FromContext returns the caller of ctx. The second result is false if nobody set one: the request must then be
// refused, never treated as Root.
func FromContext(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(key{}).(Caller)
	return c, ok
}
