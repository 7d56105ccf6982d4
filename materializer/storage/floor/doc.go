// Package floor keeps a small file beside a state store that holds how often the store was synced, so that a store that has silently gone back to
// an older state, by damage or by the hand of somebody who restored it, is found when it is opened.
package floor
