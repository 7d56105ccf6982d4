package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2"

	"kalamlog.dev/kalam/internal/suggest"
)

const envPrefix = "KALAM_"

// Variables that begin with envPrefix and are not settings of a server.
const (
	EnvConfig = "KALAM_CONFIG" // path of the configuration file, if --config is not given
	EnvURL    = "KALAM_URL"    // where the client commands find a server
	EnvBinary = "KALAM_BINARY" // the binary that tests and benchmarks start
	EnvSeed   = "KALAM_SEED"   // of random tests

	EnvClockOffset = "KALAM_CLOCK_OFFSET" // for fault tests: how far this server's clock is off, such as -1h
)

var notSettings = []string{EnvConfig, EnvURL, EnvBinary, EnvSeed, EnvClockOffset}

// serviceLink matches what Kubernetes and Docker put into every container beside a service called kalam or kalam-x.
var serviceLink = regexp.MustCompile(
	`^KALAM_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)$`)

// Sources say where settings come from, beside the defaults.
type Sources struct {
	File  string         // path of a TOML file; empty: none
	Env   []string       // "NAME=value", as os.Environ gives
	Flags map[string]any // by key name, in the key's Go type or as text: those that the user gave
}

// Load reads the sources and validates the result. The error joins every fault found.
func Load(s Sources) (Config, error) {
	keys := keyIndex()
	k := koanf.New(".")
	var faults []error
	layer := func(values map[string]any, errs []error) {
		faults = append(faults, errs...)
		if err := k.Load(confmap.Provider(values, "."), nil); err != nil {
			faults = append(faults, fmt.Errorf("merge configuration: %w", err))
		}
	}
	layer(defaults())
	layer(fromFile(s.File, keys))
	layer(fromEnv(s.Env, keys))
	layer(fromFlags(s.Flags, keys))
	var c Config
	if err := k.Unmarshal("", &c); err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		faults = append(faults, err)
	}
	return c, errors.Join(faults...)
}

func keyIndex() map[string]Key {
	index := make(map[string]Key)
	for _, k := range Keys() {
		index[k.Name] = k
	}
	return index
}

func defaults() (map[string]any, []error) {
	values := make(map[string]any)
	for _, k := range Keys() {
		values[k.Name] = k.def
	}
	return values, nil
}

func fromFile(path string, keys map[string]Key) (map[string]any, []error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, []error{fmt.Errorf("read configuration file: %w", err)}
	}
	var tree map[string]any
	if err := toml.Unmarshal(raw, &tree); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := at.Position()
			return nil, []error{fmt.Errorf("%s:%d:%d: %w", path, line, column, err)}
		}
		return nil, []error{fmt.Errorf("%s: %w", path, err)}
	}
	return fromTree(path, tree, keys)
}

func fromTree(path string, tree map[string]any, keys map[string]Key) (map[string]any, []error) {
	values := make(map[string]any)
	var faults []error
	for _, section := range sortedKeys(tree) {
		fields, ok := tree[section].(map[string]any)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: %q stands outside of a section%s", path, section, didYouMeanSection(section, keys)))
			continue
		}
		if len(fields) == 0 && !hasSection(section, keys) && section != "auth" {
			faults = append(faults, fmt.Errorf("%s: unknown section [%s]%s", path, section, meant(section, sections(keys))))
		}
		for _, field := range sortedKeys(fields) {
			faults = assign(values, keys, section+"."+field, path, fields[field], faults)
		}
	}
	return values, faults
}

// assign parses one setting into values, or adds to faults why not.
func assign(values map[string]any, keys map[string]Key, name, source string, v any, faults []error) []error {
	key, ok := keys[name]
	if !ok {
		return append(faults, unknownKey(source, name, keys))
	}
	parsed, err := key.parse(v)
	if err != nil {
		return append(faults, fmt.Errorf("%s: %s: %w", source, name, err))
	}
	values[name] = parsed
	return faults
}

func unknownKey(source, name string, keys map[string]Key) error {
	if strings.HasPrefix(name, "auth.") {
		return fmt.Errorf("%s: %s: this version has no authentication, so nothing of [auth] can be honoured; remove it", source, name)
	}
	return fmt.Errorf("%s: unknown key %s%s", source, name, meant(name, sortedKeys(keys)))
}

func fromEnv(environ []string, keys map[string]Key) (map[string]any, []error) {
	byEnv, names := make(map[string]Key), make([]string, 0, len(keys))
	for _, k := range keys {
		byEnv[k.Env] = k
		names = append(names, k.Env)
	}
	slices.Sort(names)
	values := make(map[string]any)
	var faults []error
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(notSettings, name) {
			continue
		}
		key, ok := byEnv[name]
		switch {
		case ok:
			v, err := key.parse(value)
			if err != nil {
				faults = append(faults, fmt.Errorf("environment: %s: %w", name, err))
				continue
			}
			values[key.Name] = v
		case !serviceLink.MatchString(name):
			faults = append(faults, fmt.Errorf("environment: unknown variable %s%s", name, meant(name, names)))
		}
	}
	return values, faults
}

func fromFlags(flags map[string]any, keys map[string]Key) (map[string]any, []error) {
	values := make(map[string]any)
	var faults []error
	for _, name := range sortedKeys(flags) {
		faults = assign(values, keys, name, "command line", flags[name], faults)
	}
	return values, faults
}

func sections(keys map[string]Key) []string {
	var names []string
	for _, k := range sortedKeys(keys) {
		section, _, _ := strings.Cut(k, ".")
		if !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return names
}

func hasSection(section string, keys map[string]Key) bool {
	return slices.Contains(sections(keys), section)
}

// didYouMeanSection helps who wrote a key above the first section.
func didYouMeanSection(field string, keys map[string]Key) string {
	for _, name := range sortedKeys(keys) {
		if section, key, _ := strings.Cut(name, "."); key == field {
			return fmt.Sprintf("; did you mean %s = ... under [%s]?", key, section)
		}
	}
	return meant(field, sections(keys))
}

func meant(name string, candidates []string) string {
	if c := suggest.Closest(name, candidates); c != "" {
		return fmt.Sprintf("; did you mean %s?", c)
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
