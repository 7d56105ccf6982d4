package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kalam.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	c, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("Load of nothing = %+v, want the defaults", c)
	}
}

func TestLayersOverrideEachOther(t *testing.T) {
	t.Parallel()
	file := write(t, `
[server]
data = "/from/file"
http = "127.0.0.1:1"
kafka = ""
[limits]
body = "2MiB"
row = 65536
client_timeout = "5s"
[query_cache]
max_plans = 7
[flush]
rows = 100
`)
	c, err := Load(Sources{
		File: file,
		Env: []string{
			"KALAM_SERVER_HTTP=127.0.0.1:2", "KALAM_FLUSH_ROWS=200", "KALAM_LIMITS_QUERY_MEMORY=512MiB", "PATH=/bin",
			"KALAM_SERVER_INSECURE=true", "KALAM_URL=http://x", "KALAM_CONFIG=x", "KALAM_BINARY=x",
		},
		Flags: map[string]any{"server.http": "127.0.0.1:3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Server.Data, want.Server.HTTP, want.Server.Kafka, want.Server.Insecure = "/from/file", "127.0.0.1:3", "", true
	want.Limits.Body, want.Limits.Row, want.Limits.ClientTimeout = 2<<20, 65536, 5*time.Second
	want.Limits.QueryMemory = 512 << 20
	want.QueryCache.MaxPlans, want.Flush.Rows = 7, 200
	if !reflect.DeepEqual(c, want) {
		t.Errorf("have %+v\nwant %+v", c, want)
	}
}

func TestEveryKeyHasItsVariable(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, k := range Keys() {
		if other, dup := seen[k.Env]; dup {
			t.Errorf("%s and %s share %s", k.Name, other, k.Env)
		}
		seen[k.Env] = k.Name
		if serviceLink.MatchString(k.Env) {
			t.Errorf("%s looks like a service link", k.Env)
		}
		if _, err := Load(Sources{Env: []string{k.Env + "=" + k.Default()}}); err != nil {
			t.Errorf("%s set to its default: %v", k.Env, err)
		}
	}
	for env, key := range map[string]string{
		"KALAM_SESSION_CACHE_TTL_SECONDS": "session_cache.ttl_seconds", "KALAM_QUERY_CACHE_MAX_PLANS": "query_cache.max_plans",
		"KALAM_SHARDING_DEFAULT_STRATEGY": "sharding.default_strategy", "KALAM_CLUSTER_NODE_ID": "cluster.node_id",
		"KALAM_SESSION_CACHE_MAX_REGISTRATIONS_PER_SESSION": "session_cache.max_registrations_per_session",
	} {
		if seen[env] != key {
			t.Errorf("%s sets %q, want %q", env, seen[env], key)
		}
	}
}

func TestFaultsAreJoinedAndSayWhatWasMeant(t *testing.T) {
	t.Parallel()
	file := write(t, `
kafka = 1
[server]
dta = "x"
http = "nonsense"
[limits]
row = "1 MB of nothing"
client_timeout = 30
[sevrer]
[auth]
oidc = "x"
[cluster]
peers = ["1=a:1", "1=b:1", "2=a:1", "x=c:2", "3=d"]
groups = 3
[storage]
backend = "redsi"
redis_prefix = "a b"
[session_cache]
ttl_seconds = 5
[log]
level = "debgu"
`)
	_, err := Load(Sources{File: file, Env: []string{"KALAM_SERVER_KAFFKA=x", "KALAM_FLUSH_ROWS=many"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"kafka" stands outside of a section; did you mean kafka = ... under [server]?`,
		"unknown key server.dta; did you mean server.data?",
		`server.http: "nonsense" is no address`,
		"limits.row: ", "limits.client_timeout: want a duration with a unit",
		"unknown section [sevrer]; did you mean server?",
		"auth.oidc: this version has no authentication",
		"cluster.peers: node 1 is listed twice",
		"cluster.peers: nodes 1 and 2 have the same address",
		`cluster.peers: "x=c:2" is no peer`,
		`cluster.peers: "d" is no address`,
		"cluster.groups: ", `storage.backend: "redsi" is not one of pebble, bbolt, redis; did you mean redis?`, `storage.redis_prefix: "a b"`, "session_cache: ",
		`log.level: "debgu" is not one of debug, info, warn, error; did you mean debug?`,
		"unknown variable KALAM_SERVER_KAFFKA; did you mean KALAM_SERVER_KAFKA?",
		"KALAM_FLUSH_ROWS: want a whole number",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ backend, address, fault string }{
		{BackendRedis, "redis://127.0.0.1:6379/0", ""},
		{BackendRedis, "rediss://user:secret@redis.example:6379", ""},
		{BackendRedis, "unix:///run/redis/socket?db=2", ""},
		{BackendBbolt, "", ""},
		{BackendRedis, "", "storage.redis: the backend redis needs"},
		{BackendPebble, "redis://127.0.0.1:6379", "storage.redis: the backend is pebble"},
		{BackendRedis, "user:secret@host", "storage.redis: this is no address"},
	} {
		c := Default()
		c.Storage.Backend, c.Storage.Redis = tt.backend, tt.address
		err := c.Validate()
		if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s at %q: %v, want %q", tt.backend, tt.address, err, tt.fault)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the fault shows a password: %v", err)
		}
	}
}

func TestBrokenFileNamesTheLine(t *testing.T) {
	t.Parallel()
	_, err := Load(Sources{File: write(t, "[server]\nhttp = \n")})
	if err == nil || !strings.Contains(err.Error(), "kalam.toml:2:") {
		t.Errorf("err = %v, want line 2", err)
	}
	if _, err := Load(Sources{File: "/does/not/exist.toml"}); err == nil {
		t.Error("a missing file is not an error")
	}
}

func TestServiceLinksOfContainersAreNotSettings(t *testing.T) {
	t.Parallel()
	_, err := Load(Sources{Env: []string{
		"KALAM_SERVICE_HOST=10.0.0.1", "KALAM_SERVICE_PORT=2900", "KALAM_SERVICE_PORT_HTTP=2900", "KALAM_PORT=tcp://10.0.0.1:2900",
		"KALAM_PORT_2900_TCP=tcp://x", "KALAM_PORT_2900_TCP_ADDR=x", "KALAM_HEADLESS_SERVICE_HOST=x", "KALAM_HEADLESS_PORT_9092_TCP_PORT=1",
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestExposedAddressesNeedInsecure(t *testing.T) {
	t.Parallel()
	for address, exposed := range map[string]bool{
		"127.0.0.1:0": false, "[::1]:0": false, "localhost:0": false, "127.9.9.9:1": false,
		"0.0.0.0:0": true, ":0": true, "[::]:0": true, "192.168.1.1:0": true, "example.com:0": true,
	} {
		_, err := Load(Sources{Flags: map[string]any{"server.http": address}})
		if (err != nil) != exposed {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := Load(Sources{Flags: map[string]any{"server.kafka": address, "server.insecure": true}}); err != nil {
			t.Errorf("%s with insecure: %v", address, err)
		}
	}
	if _, err := Load(Sources{Flags: map[string]any{"server.pprof": "0.0.0.0:1", "server.insecure": true}}); err == nil {
		t.Error("pprof beyond loopback was accepted")
	}
}
