package dataset_test

import (
	"testing"

	"kalamlog.dev/kalam/internal/dataset"
)

func TestExcerpt(t *testing.T) {
	set := dataset.Open("")
	quakes, err := set.Quakes()
	if err != nil {
		t.Fatal(err)
	}
	strong := 0
	for i, q := range quakes {
		if i > 0 && q.Time.Before(quakes[i-1].Time) {
			t.Fatalf("quake %d is out of order", i)
		}
		if q.Magnitude >= 4.5 {
			strong++
		}
	}
	if len(quakes) != 622 || strong != 85 {
		t.Errorf("%d quakes, %d of 4.5 and above; want 622 and 85", len(quakes), strong)
	}
	n := 0
	if err := set.Flights(1000, func(f dataset.Flight) error {
		if f.ID != int64(n) || f.Origin == "" || f.Date.Year() != 2001 {
			t.Errorf("flight %d: %+v", n, f)
		}
		n++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n != 1000 {
		t.Errorf("%d flights, want 1000", n)
	}
}
