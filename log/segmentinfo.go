package log

// SegmentInfo describes one segment.
type SegmentInfo struct {
	Base   Offset
	End    Offset // the partition's end for the one appended to
	Bytes  int64
	Sealed bool
}

// Segments lists the segments of p that hold kept changes, in order.
func (l *Log) Segments(p Partition) ([]SegmentInfo, error) {
	part, err := l.store.partition(p)
	if err != nil {
		return nil, err
	}
	if part.table.dropped.Load() || part.end.Load() == 0 {
		return nil, nil
	}
	if err := part.load(); err != nil {
		return nil, part.readError(err)
	}
	return part.describe(), nil
}

func (p *partition) describe() []SegmentInfo {
	p.mu.RLock()
	segments := p.segments[p.firstKeptLocked(p.start.Load().Offset):]
	p.mu.RUnlock()
	infos := make([]SegmentInfo, 0, len(segments))
	for i, s := range segments {
		limit := Offset(s.limit.Load())
		info := SegmentInfo{Base: s.base, End: limit, Sealed: limit != 0, Bytes: s.bytes.Load()}
		if i+1 < len(segments) {
			info.End = segments[i+1].base
		} else if limit == 0 {
			info.End = Offset(p.end.Load())
		}
		if info.Bytes < 0 {
			info.Bytes = s.fileSize()
		}
		if info.Sealed && info.Bytes > 0 {
			s.bytes.CompareAndSwap(-1, info.Bytes) // it will not change any more
		}
		infos = append(infos, info)
	}
	return infos
}

// keptBytes is how much the segments hold of the partitions that were used since the start.
func (s *store) keptBytes() float64 {
	sum := int64(0)
	for _, p := range s.loadedPartitions() {
		p.mu.RLock()
		loaded := p.loaded
		p.mu.RUnlock()
		if !loaded {
			continue
		}
		for _, info := range p.describe() {
			sum += info.Bytes
		}
	}
	return float64(sum)
}
