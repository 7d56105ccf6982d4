package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/size"
)

// Key is one setting.
type Key struct {
	Name string // section.key
	Env  string // KALAM_SECTION_KEY
	Doc  string // what it means, for the user
	typ  reflect.Type
	def  any
}

// Default returns the text of the key's default.
func (k Key) Default() string {
	if list, ok := k.def.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(k.def)
}

// Keys lists every setting in the order of Config.
func Keys() []Key {
	var keys []Key
	root := reflect.ValueOf(Default())
	for i := range root.NumField() {
		section := root.Type().Field(i).Tag.Get("koanf")
		fields := root.Field(i)
		for j := range fields.NumField() {
			f := fields.Type().Field(j)
			name := section + "." + f.Tag.Get("koanf")
			keys = append(keys, Key{Name: name, Env: envName(name), Doc: f.Tag.Get("doc"), typ: f.Type, def: fields.Field(j).Interface()})
		}
	}
	return keys
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// parse converts what a TOML file or an environment variable holds to the key's Go type.
func (k Key) parse(v any) (any, error) {
	switch k.typ {
	case reflect.TypeFor[time.Duration]():
		return parseDuration(v)
	case reflect.TypeFor[size.Bytes]():
		return parseSizeOf(v)
	case reflect.TypeFor[[]string]():
		return parseList(v)
	}
	switch k.typ.Kind() {
	case reflect.String:
		if s, ok := v.(string); ok {
			return s, nil
		}
		return nil, fmt.Errorf("want text, have %v", v)
	case reflect.Bool:
		return parseBool(v)
	case reflect.Int, reflect.Int64:
		return parseInt(v)
	default:
		return nil, fmt.Errorf("no parser for %s", k.typ)
	}
}

func parseBool(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("want true or false, have %v", v)
}

func parseInt(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("want a whole number, have %v", v)
}

func parseDuration(v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		if n, isInt := v.(int64); !isInt || n != 0 {
			return nil, fmt.Errorf("want a duration with a unit such as \"30s\" or \"1h\", have %v", v)
		}
		s = "0"
	}
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return nil, fmt.Errorf("%q is no duration: want a number with a unit such as 30s, 5m or 1h", s)
	}
	return d, nil
}

func parseSizeOf(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		if v < 0 || v == math.MaxInt64 {
			return nil, fmt.Errorf("%d is no size", v)
		}
		return size.Bytes(v), nil
	case string:
		return size.Parse(v)
	}
	return nil, fmt.Errorf("want a size such as \"64MiB\", have %v", v)
}

func parseList(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) == "" {
			return []string{}, nil
		}
		parts := strings.Split(v, ",")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		return parts, nil
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("want a list of texts, have %v in it", e)
			}
			list[i] = s
		}
		return list, nil
	}
	return nil, fmt.Errorf("want a list of texts, have %v", v)
}
