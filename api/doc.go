// Package api is the HTTP door: rows, SQL, subscriptions, health and metrics, over echo. It decodes and encodes; what a
// request means is decided below it. errors.go holds the one table from problem codes to HTTP statuses and SQLSTATEs.
package api
