package expr

// rewrite returns a copy of the tree with fn applied to every node, children first. nil stays nil.
func rewrite(n Node, fn func(Node) Node) Node {
	switch x := n.(type) {
	case nil:
		return nil
	case Unary:
		x.X = rewrite(x.X, fn)
		return fn(x)
	case Binary:
		x.L, x.R = rewrite(x.L, fn), rewrite(x.R, fn)
		return fn(x)
	case In:
		x.X, x.List = rewrite(x.X, fn), rewriteAll(x.List, fn)
		return fn(x)
	case Between:
		x.X, x.Low, x.High = rewrite(x.X, fn), rewrite(x.Low, fn), rewrite(x.High, fn)
		return fn(x)
	case Case:
		whens := make([]When, len(x.Whens))
		for i, w := range x.Whens {
			whens[i] = When{Cond: rewrite(w.Cond, fn), Then: rewrite(w.Then, fn)}
		}
		x.Operand, x.Whens, x.Else = rewrite(x.Operand, fn), whens, rewrite(x.Else, fn)
		return fn(x)
	case Cast:
		x.X = rewrite(x.X, fn)
		return fn(x)
	case Call:
		x.Args = rewriteAll(x.Args, fn)
		return fn(x)
	case Array:
		x.Elems = rewriteAll(x.Elems, fn)
		return fn(x)
	}
	return fn(n)
}

func rewriteAll(ns []Node, fn func(Node) Node) []Node {
	out := make([]Node, len(ns))
	for i, n := range ns {
		out[i] = rewrite(n, fn)
	}
	return out
}
