//! Polygons in shares of the image, in double precision.

/// Tolerance for a vertex on a line: the resolution of coordinates with six decimals.
const ON_LINE: f64 = 1e-6;

/// How far, as a share of a side, both ends of an edge must be from the other edge's line for the
/// two to cross: one pixel of a 500-pixel image. Labellers close a ring by clicking near its first
/// vertex, and overshoot it by less.
const CROSSING_DEPTH: f64 = 0.002;

/// Maximum number of pairs of edges to compare when looking for a crossing. A polygon of a few
/// thousand vertices needs far fewer, and the limit keeps the search short for any input.
const MAX_EDGE_PAIRS: u64 = 20_000_000;

fn cross(o: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])
}

/// Area inside the outline by the shoelace formula, at least 0. If edges cross, parts with the
/// opposite orientation count as negative.
pub fn polygon_area(vertices: &[[f64; 2]]) -> f64 {
    let Some(&origin) = vertices.first() else { return 0.0 };
    let doubled: f64 = vertices.windows(2).map(|edge| cross(origin, edge[0], edge[1])).sum();
    (doubled / 2.0).abs()
}

/// Whether all vertices are on one line, or in one point.
pub fn is_on_one_line(vertices: &[[f64; 2]]) -> bool {
    let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let farthest_from = |from: [f64; 2]| {
        vertices.iter().copied().fold((from, 0.0), |best, vertex| {
            let far = distance(from, vertex);
            if far > best.1 { (vertex, far) } else { best }
        })
    };
    let Some(&first) = vertices.first() else { return true };
    // The point farthest from any vertex is an end of the line, if there is a line.
    let (end, _) = farthest_from(first);
    let (other_end, length) = farthest_from(end);
    length <= ON_LINE
        || vertices.iter().all(|&vertex| (cross(end, other_end, vertex) / length).abs() <= ON_LINE)
}

/// The result of a search for crossing edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// No two edges cross.
    None,
    /// These two edges cross, given by the index of their first vertex.
    Edges(usize, usize),
    /// There are too many vertices to decide.
    Unknown,
}

/// Looks for two edges that clearly cross: the ends of each are on different sides of the other, by
/// more than [`CROSSING_DEPTH`]. Edges that touch or overlap, as where a hole is joined to the
/// outline, do not cross.
pub fn find_crossing(vertices: &[[f64; 2]]) -> Crossing {
    let n = vertices.len();
    if n < 4 {
        return Crossing::None;
    }
    let edge = |i: usize| (vertices[i], vertices[(i + 1) % n]);
    let crosses = |i: usize, j: usize| {
        let ((a, b), (c, d)) = (edge(i), edge(j));
        let splits = |from: [f64; 2], to: [f64; 2], p: [f64; 2], q: [f64; 2]| {
            let (p, q) = (cross(from, to, p), cross(from, to, q));
            p * q < 0.0
                && p.abs().min(q.abs()) > CROSSING_DEPTH * (to[0] - from[0]).hypot(to[1] - from[1])
        };
        splits(a, b, c, d) && splits(c, d, a, b)
    };
    if n <= 32 {
        for i in 0..n {
            for j in i + 1..n {
                if crosses(i, j) {
                    return Crossing::Edges(i, j);
                }
            }
        }
        return Crossing::None;
    }
    // Sweeps from left to right: an edge can only cross those that the sweep has not yet passed.
    let span = |i: usize| {
        let (a, b) = edge(i);
        (a[0].min(b[0]), a[0].max(b[0]))
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| span(i).0.total_cmp(&span(j).0).then(i.cmp(&j)));
    let mut active: Vec<usize> = Vec::new();
    let mut compared = 0;
    let mut first: Option<(usize, usize)> = None;
    for i in order {
        let start = span(i).0;
        active.retain(|&j| span(j).1 >= start);
        compared += active.len() as u64;
        if compared > MAX_EDGE_PAIRS {
            return Crossing::Unknown;
        }
        for &j in &active {
            if crosses(i, j) {
                let pair = (i.min(j), i.max(j));
                first = Some(first.map_or(pair, |best| best.min(pair)));
            }
        }
        if let Some((a, b)) = first {
            return Crossing::Edges(a, b);
        }
        active.push(i);
    }
    Crossing::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_does_not_depend_on_the_direction() {
        let square = [[0.1, 0.1], [0.3, 0.1], [0.3, 0.4], [0.1, 0.4]];
        let mut reversed = square;
        reversed.reverse();
        assert!((polygon_area(&square) - 0.06).abs() < 1e-12);
        assert_eq!(polygon_area(&square), polygon_area(&reversed));
        assert_eq!(polygon_area(&[]), 0.0);
    }

    #[test]
    fn points_of_a_slanted_line_are_found_whatever_their_order() {
        assert!(is_on_one_line(&[[0.5, 0.5], [0.1, 0.1], [0.9, 0.9], [0.3, 0.3]]));
        assert!(is_on_one_line(&[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]));
        assert!(is_on_one_line(&[]));
        assert!(!is_on_one_line(&[[0.1, 0.1], [0.9, 0.9], [0.5, 0.51]]));
    }

    #[test]
    fn a_bow_tie_crosses_and_a_touching_outline_does_not() {
        assert_eq!(
            find_crossing(&[[0.1, 0.1], [0.4, 0.4], [0.4, 0.1], [0.1, 0.4]]),
            Crossing::Edges(0, 2)
        );
        // A closed ring repeats its first vertex.
        assert_eq!(
            find_crossing(&[[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4], [0.1, 0.1]]),
            Crossing::None
        );
        // A slit to a hole and back.
        let with_hole = [
            [0.0, 0.0],
            [1.0, 0.0],
            [1.0, 1.0],
            [0.0, 1.0],
            [0.0, 0.0],
            [0.2, 0.2],
            [0.2, 0.6],
            [0.6, 0.6],
            [0.6, 0.2],
            [0.2, 0.2],
        ];
        assert_eq!(find_crossing(&with_hole), Crossing::None);
    }

    #[test]
    fn a_ring_closed_a_hair_past_its_first_vertex_does_not_cross() {
        let overshoot =
            |by: f64| [[0.1, 0.1], [0.1, 0.5], [0.5, 0.5], [0.5, 0.1], [0.1 - by, 0.15]];
        assert_eq!(find_crossing(&overshoot(0.001)), Crossing::None);
        assert_eq!(find_crossing(&overshoot(0.02)), Crossing::Edges(0, 3));
    }

    fn ring(n: usize) -> Vec<[f64; 2]> {
        (0..n)
            .map(|i| (i as f64 / n as f64 * std::f64::consts::TAU).sin_cos())
            .map(|(y, x)| [0.5 + 0.4 * x, 0.5 + 0.4 * y])
            .collect()
    }

    #[test]
    fn the_sweep_finds_what_comparing_all_pairs_finds() {
        let mut outline = ring(60);
        assert_eq!(find_crossing(&outline), Crossing::None);
        outline.swap(10, 30);
        assert!(matches!(find_crossing(&outline), Crossing::Edges(9..=30, _)));
    }

    #[test]
    fn the_search_gives_up_on_a_hostile_polygon() {
        // Long parallel edges: each overlaps all others in x.
        let zigzag: Vec<_> =
            (0..100_000).map(|i| [f64::from(i % 2), f64::from(i) / 100_000.0]).collect();
        assert_eq!(find_crossing(&zigzag), Crossing::Unknown);
    }
}
