// Package history is what clients did and saw during a run: operations with the times between which they took effect, and what
// readers were shown. It is written as it happens, one JSON object a line, so that a run that breaks off can be judged too.
package history
