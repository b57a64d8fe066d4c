package cli

// nearestName returns the name that is most like a mistyped one. It returns "" if none is like it.
func nearestName(mistyped string, names []string) string {
	nearest := ""
	least := 1 + max(2, len(mistyped)/4) // a long name may have more mistakes
	for _, name := range names {
		distance := editDistance(mistyped, name)
		if distance < least {
			least = distance
			nearest = name
		}
	}
	return nearest
}

// editDistance returns the least number of bytes to insert, remove or replace that turn a into b. This
// is the Levenshtein distance.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // distances of the part of a so far to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
