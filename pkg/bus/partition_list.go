package bus

import (
	"fmt"
	"slices"
	"strings"
)

// FormatPartitions returns the numbers of partitions as a sorted list, such as "0 to 20, 42".
func FormatPartitions(partitions []int) string {
	sorted := slices.Sorted(slices.Values(partitions))
	var list []string
	for i := 0; i < len(sorted); {
		last := i
		for last+1 < len(sorted) && sorted[last+1] == sorted[last]+1 {
			last++
		}

		text := fmt.Sprint(sorted[i])
		if last > i {
			text += fmt.Sprint(" to ", sorted[last])
		}

		list = append(list, text)
		i = last + 1
	}

	return strings.Join(list, ", ")
}
