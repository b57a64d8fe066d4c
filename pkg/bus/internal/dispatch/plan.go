package dispatch

import (
	"cmp"
	"slices"
)

// A Plan lists the subscriptions of an event type by ascending priority. Each level has the
// subscriptions of one priority.
type Plan [][]*Subscriber

// planTable contains the plan of each event type. It is immutable: a new subscription makes a new
// table.
type planTable struct {
	byType map[string]Plan // types that a subscription names
	others Plan            // all other types
}

// rebuildPlans replaces the plans after a change of subs. d.mu is held.
func (d *Dispatcher) rebuildPlans() {
	table := &planTable{byType: map[string]Plan{}}
	sorted := make([]*Subscriber, 0, len(d.subs))
	for _, s := range d.subs {
		sorted = append(sorted, s)
		for _, eventType := range s.Types {
			table.byType[eventType] = nil
		}
	}

	slices.SortFunc(sorted, func(a, b *Subscriber) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})

	wantsAll := func(s *Subscriber) bool { return len(s.Types) == 0 }
	for eventType := range table.byType {
		table.byType[eventType] = makePlan(sorted, func(s *Subscriber) bool {
			return wantsAll(s) || slices.Contains(s.Types, eventType)
		})
	}

	table.others = makePlan(sorted, wantsAll)
	d.plans.Store(table)
}

// makePlan returns a plan of the subscriptions that want an event. sorted is in order of priority.
func makePlan(sorted []*Subscriber, wantsEvent func(*Subscriber) bool) Plan {
	var plan Plan
	priority := 0 // of the last level
	for _, s := range sorted {
		if !wantsEvent(s) {
			continue
		}

		if len(plan) > 0 && s.Priority == priority {
			plan[len(plan)-1] = append(plan[len(plan)-1], s)
			continue
		}

		plan = append(plan, []*Subscriber{s})
		priority = s.Priority
	}

	return plan
}

// PlanFor returns the plan of an event type.
func (d *Dispatcher) PlanFor(eventType string) Plan {
	table := d.plans.Load()
	plan, ok := table.byType[eventType]
	if ok {
		return plan
	}

	return table.others
}

// Without returns a plan without the given subscriptions.
func (p Plan) Without(ids []string) Plan {
	isExcluded := func(s *Subscriber) bool { return slices.Contains(ids, s.ID) }
	var plan Plan
	for _, level := range p {
		others := slices.DeleteFunc(slices.Clone(level), isExcluded)
		if len(others) > 0 {
			plan = append(plan, others)
		}
	}

	return plan
}
