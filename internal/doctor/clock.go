package doctor

import "time"

// Clocks that differ by more than warnSkew are worth a warning. With failSkew, tokens that were just
// signed are refused, because verifiers allow no more.
const (
	warnSkew = 5 * time.Second
	failSkew = 30 * time.Second
)

var clockAdvice = advice{
	fix:  "synchronise the clocks of both machines with NTP",
	docs: "doctor.md#clocks",
}

// compareClock checks how far another machine's clock is ahead of this one. The time was read with
// the given precision.
func (c *collector) compareClock(lead, precision time.Duration) {
	skew := max(lead.Abs()-precision, 0)
	text := describeLead(lead)
	switch {
	case skew > failSkew:
		c.fail("clock", clockAdvice, "%s, more than the %s that tokens allow", text, failSkew)
	case skew > warnSkew:
		c.warn("clock", clockAdvice, "%s", text)
	default:
		c.ok("clock", "differs by at most %s", roundUp(lead.Abs()+precision))
	}
}

func describeLead(lead time.Duration) string {
	if lead < 0 {
		return "its clock is " + (-lead).Round(time.Second).String() + " behind this machine's"
	}
	return "its clock is " + lead.Round(time.Second).String() + " ahead of this machine's"
}
