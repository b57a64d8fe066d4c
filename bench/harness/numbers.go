package harness

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseNumbers parses the value of a flag: a comma-separated list of integers from 1 to largest.
func ParseNumbers(flag, list string, largest int) ([]int, error) {
	var numbers []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > largest {
			return nil, fmt.Errorf("--%s: %q must be a number from 1 to %d", flag, text, largest)
		}

		numbers = append(numbers, n)
	}

	return numbers, nil
}
