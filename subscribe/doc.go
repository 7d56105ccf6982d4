// Package subscribe serves live queries: the rows that match a filter at one position, then every change that concerns
// them, exactly once and in order. A subscription resumes after any cursor it has handed out, also one in the middle of a
// Raft entry, also after a restart of the server. Nobody waits for a subscriber: each one reads the log at its own pace,
// in its caller's goroutine, and holds no more than its byte budget in memory.
package subscribe
