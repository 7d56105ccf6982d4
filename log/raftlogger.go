package log

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
)

// raftLog is where dragonboat's messages go. dragonboat has one logger factory a process and panics if it is set twice, so this is a
// process-wide variable: the Log opened last gets the messages of all.
var raftLog struct {
	once   sync.Once
	target atomic.Pointer[slog.Logger]
}

// bridgeRaftLog sends dragonboat's warnings and errors to l.
func bridgeRaftLog(l *slog.Logger) {
	raftLog.target.Store(l)
	raftLog.once.Do(func() {
		defer func() { _ = recover() }() // the program has set a factory of its own, which is as good
		logger.SetLoggerFactory(func(name string) logger.ILogger { return raftLogger(name) })
	})
}

// raftLogger implements logger.ILogger for one of dragonboat's packages.
type raftLogger string

// SetLevel implements logger.ILogger. The level is fixed.
func (raftLogger) SetLevel(logger.LogLevel) {}

// Debugf implements logger.ILogger.
func (raftLogger) Debugf(string, ...any) {}

// Infof implements logger.ILogger.
func (raftLogger) Infof(string, ...any) {}

// Warningf implements logger.ILogger. Much of what dragonboat warns of is a part of every start.
func (l raftLogger) Warningf(format string, args ...any) {
	raftLog.target.Load().Debug("raft warning", "message", firstLine(fmt.Sprintf(format, args...)), "package", string(l))
}

// Errorf implements logger.ILogger.
func (l raftLogger) Errorf(format string, args ...any) {
	raftLog.target.Load().Warn("raft error", "message", firstLine(fmt.Sprintf(format, args...)), "package", string(l))
}

// Panicf implements logger.ILogger, whose contract is to panic.
func (l raftLogger) Panicf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	raftLog.target.Load().Error("raft panic", "message", firstLine(message), "package", string(l))
	panic(message)
}

// firstLine cuts off the stack traces that dragonboat adds to errors.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
