package kafka

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// flights makes a table like those that analytics reads, with n rows in one partition.
func (k *stack) flights(n int64) *materializer.Table {
	k.t.Helper()
	t := k.createTable("air", "flights", 1, 1,
		column("id", expr.BigInt), column("carrier", expr.Text), column("origin", expr.Text), column("destination", expr.Text),
		column("departed", expr.TimestampTZ), column("delay", expr.Integer), column("distance", expr.Double),
		column("remark", expr.Text))
	d := k.drafter(t)
	set := []bool{true, true, true, true, true, true, true, true}
	for id := int64(0); id < n; {
		var mutations []materializer.Mutation
		for end := min(n, id+1000); id < end; id++ {
			m, _, err := d.Put(materializer.Upsert, []expr.Value{
				expr.IntOf(expr.BigInt, id), expr.TextOf("KL"), expr.TextOf("AMS"), expr.TextOf("JFK"),
				expr.IntOf(expr.TimestampTZ, 1_700_000_000_000_000+id*1_000_003), expr.IntOf(expr.Integer, id%240-60),
				expr.FloatOf(expr.Double, float64(id%9000)+0.5), expr.TextOf(fmt.Sprintf("flight %d left the gate on time, more or less", id)),
			}, set)
			if err != nil {
				k.t.Fatal(err)
			}
			mutations = append(mutations, m)
		}
		k.write(mutations)
	}
	return t
}

// BenchmarkFetch reads a topic from end to end, as requests of a consumer do, without the network. MB/s are those of keys and values in JSON.
func BenchmarkFetch(b *testing.B) {
	k := startStack(b, nil)
	const rows = 50_000
	k.flights(rows)
	for _, topic := range []string{"air.flights", "air.flights.changes"} {
		b.Run(topic, func(b *testing.B) {
			var total int64
			for b.Loop() {
				total = 0
				for offset := int64(0); offset < rows; {
					q := kmsg.NewPtrFetchRequest()
					q.Version, q.MinBytes, q.MaxBytes = 12, 1, 50<<20
					t := kmsg.NewFetchRequestTopic()
					t.Topic = topic
					p := fetchPartitionRequest(0, offset)
					t.Partitions = append(t.Partitions, p)
					q.Topics = append(q.Topics, t)
					r := must(k.server.serveFetch(b.Context(), &peer{}, q))(b).(*kmsg.FetchResponse).Topics[0].Partitions[0]
					records := int64(binary.BigEndian.Uint32(r.RecordBatches[batchRecords:]))
					offset += records
					total += int64(len(r.RecordBatches)) - records*8 - batchHeader
				}
			}
			b.SetBytes(total)
			b.ReportMetric(float64(total)/rows, "B/record")
		})
	}
}
