package harness

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseNumbers reads the value of a flag that takes a comma-separated list of whole numbers from 1
// to most.
func ParseNumbers(flag, list string, most int) ([]int, error) {
	var numbers []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return nil, fmt.Errorf("--%s: %q must be a number from 1 to %d", flag, text, most)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
