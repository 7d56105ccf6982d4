// Package config reads a server's configuration: defaults, then a TOML file, then environment variables, then command
// line flags, each over the ones before. What it does not know, or cannot honour, it refuses.
package config
