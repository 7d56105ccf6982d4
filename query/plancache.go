package query

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"kalamlog.dev/kalam/query/parse"
)

// maxCachedText is the longest statement that is cached, in bytes: longer ones are bulk inserts full of literals.
const maxCachedText = 16 << 10

// planKey is what two statements must share to have one plan.
type planKey struct {
	text      string
	namespace string
	catalog   uint64
	reader    *reader
}

// plan is a statement made ready to run at one version of the catalog. It is immutable.
type plan struct {
	parsed parse.Parsed
	read   *readPlan // of a query
}

// planCache keeps the newest plans. It is safe for concurrent use.
type planCache struct {
	plans   *lru.Cache[planKey, *plan]
	metrics *metrics
}

func newPlanCache(size int, m *metrics) (*planCache, error) {
	plans, err := lru.New[planKey, *plan](size)
	if err != nil {
		return nil, fmt.Errorf("create plan cache: %w", err)
	}
	return &planCache{plans: plans, metrics: m}, nil
}

func (c *planCache) find(k planKey) (*plan, bool) {
	p, ok := c.plans.Get(k)
	if ok {
		c.metrics.plans.WithLabelValues("hit").Inc()
	} else {
		c.metrics.plans.WithLabelValues("miss").Inc()
	}
	return p, ok
}

// purge forgets all plans.
func (c *planCache) purge() { c.plans.Purge() }

// has reports whether a plan is kept, without counting a look-up.
func (c *planCache) has(k planKey) bool { return c.plans.Contains(k) }

func (c *planCache) keep(k planKey, p *plan) {
	if len(k.text) > maxCachedText {
		return
	}
	if c.plans.Add(k, p) {
		c.metrics.plans.WithLabelValues("evicted").Inc()
	}
}
