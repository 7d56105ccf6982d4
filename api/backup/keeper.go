package backup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// State is what a backup needs of the state: *materializer.Materializer.
type State interface {
	View() (*materializer.View, error)
}

// Options configures a Keeper.
type Options struct {
	Log     *log.Log      // required
	State   State         // required
	Store   *objstore.Dir // required: data files
	Ensure  func(ctx context.Context, files []manifest.File) error
	Clock   clock.Clock   // default the machine's
	Logger  *slog.Logger  // default discards
	Idle    time.Duration // after which a backup that nobody fetches is given up, default 15 min
	Cluster string        // id
	Node    log.NodeID
	Version string // of the program
}

// Keeper holds what the backups under way need: a view, segments and data files. Safe for concurrent use.
type Keeper struct {
	o     Options
	life  context.Context // ends with Close; kept because parts are sent from many requests
	stop  context.CancelFunc
	owned sync.WaitGroup

	mu   sync.Mutex
	open map[string]*session
}

// maxOpen bounds the backups at one time: each keeps old versions of rows, and files, on disk.
const maxOpen = 4

// NewKeeper returns a Keeper. Close it before the log.
func NewKeeper(o Options) *Keeper {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Idle == 0 {
		o.Idle = 15 * time.Minute
	}
	k := &Keeper{o: o, open: map[string]*session{}}
	k.life, k.stop = context.WithCancel(context.Background())
	k.owned.Go(k.expire)
	return k
}

// Close ends every backup; what is being sent breaks off. It is idempotent.
func (k *Keeper) Close() error {
	k.stop()
	k.owned.Wait()
	k.mu.Lock()
	all := k.open
	k.open = nil
	k.mu.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, s.end())
	}
	return errors.Join(errs...)
}

// Begin starts a backup of what is applied now.
func (k *Keeper) Begin(ctx context.Context) (wire.Backup, error) {
	if err := k.room(); err != nil {
		return wire.Backup{}, err
	}
	s, err := newSession(ctx, &k.o, uuid.NewString())
	if err != nil {
		return wire.Backup{}, err
	}
	if err := k.keep(s); err != nil {
		return wire.Backup{}, errors.Join(err, s.end())
	}
	k.o.Logger.Info("backup begun", "id", s.about.ID, "position", s.about.Position, "parts", len(s.about.Parts))
	return s.about, nil
}

// room refuses one backup too many.
func (k *Keeper) room() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.roomLocked()
}

func (k *Keeper) roomLocked() error {
	if k.open == nil {
		return errClosed()
	}
	if len(k.open) >= maxOpen {
		return problem.New(problem.Overloaded, "%d backups are under way already", len(k.open)).
			WithHint("wait until one has ended; one that is not fetched any more is given up after %s", k.o.Idle)
	}
	return nil
}

func (k *Keeper) keep(s *session) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.roomLocked(); err != nil {
		return err
	}
	k.open[s.about.ID] = s
	return nil
}

// Describe returns a backup under way, which goes on being kept.
func (k *Keeper) Describe(id string) (wire.Backup, error) {
	s, err := k.use(id)
	if err != nil {
		return wire.Backup{}, err
	}
	k.leave(s)
	return s.about, nil
}

// End gives a backup up: it is fetched, or nobody wants it any more.
func (k *Keeper) End(id string) error {
	k.mu.Lock()
	s := k.open[id]
	delete(k.open, id)
	k.mu.Unlock()
	if s == nil {
		return errUnknown(id)
	}
	k.o.Logger.Info("backup ended", "id", id)
	return s.end()
}

// use returns a backup that is not given up before leave.
func (k *Keeper) use(id string) (*session, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open == nil {
		return nil, errClosed()
	}
	s := k.open[id]
	if s == nil {
		return nil, errUnknown(id)
	}
	s.users++
	return s, nil
}

func (k *Keeper) leave(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s.users--
	s.used = k.o.Clock.Now()
}

func errUnknown(id string) error {
	return problem.New(problem.NotFound, "there is no backup %q", id).
		WithHint("the server was restarted, or nothing of the backup was fetched in a while: begin another one")
}

func errClosed() error { return problem.New(problem.ShuttingDown, "the server is shutting down") }

// expire gives up what nobody fetches.
func (k *Keeper) expire() {
	tick := time.NewTicker(max(k.o.Idle/10, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-k.life.Done():
			return
		case <-tick.C:
		}
		for _, s := range k.expired() {
			k.o.Logger.Warn("backup given up: nothing of it was fetched in a while", "id", s.about.ID)
			if err := s.end(); err != nil {
				k.o.Logger.Error("end backup", "error", err)
			}
		}
	}
}

func (k *Keeper) expired() (all []*session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, s := range k.open {
		if s.users == 0 && k.o.Clock.Now().Sub(s.used) >= k.o.Idle {
			delete(k.open, id)
			all = append(all, s)
		}
	}
	return all
}
