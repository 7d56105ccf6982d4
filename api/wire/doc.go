// Package wire holds the JSON types of the public HTTP interface, shared by the server and its clients. It imports nothing but
// the standard library.
package wire
