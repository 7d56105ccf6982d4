package objstore

// Guarded returns a Store like s that asks room before it starts an object and before each write, and fails with its error: what is
// written in the background stops while there is still space for what must go on. Reads and deletions pass.
func Guarded(s Store, room func() error) Store { return &guarded{Store: s, room: room} }

type guarded struct {
	Store
	room func() error
}

// Create starts an object if there is room.
func (g *guarded) Create(path string) (Object, error) {
	if err := g.room(); err != nil {
		return nil, err
	}
	o, err := g.Store.Create(path)
	if err != nil {
		return nil, err
	}
	return &guardedObject{Object: o, room: g.room}, nil
}

type guardedObject struct {
	Object
	room func() error
}

// Write writes p if there is room.
func (o *guardedObject) Write(p []byte) (int, error) {
	if err := o.room(); err != nil {
		return 0, err
	}
	return o.Object.Write(p)
}
