//! Parses the segments before the scan: tables, sizes, sampling.

use super::bits::Coded;
use super::huffman::Huffman;

/// Row-major index of each coefficient in zigzag order (ITU-T T.81, figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Row-major index of the coefficient with zigzag index `k`, 0 to 63.
#[inline(always)]
pub(super) fn row_major(k: usize) -> usize {
    usize::from(ZIGZAG[k & 63])
}

/// One component of the frame.
pub(super) struct Component {
    id: u8,
    /// Blocks of an MCU, across and down.
    pub(super) sampling: (usize, usize),
    quantisation: usize,
    /// Quantisation steps in zigzag order.
    pub(super) steps: [f32; 64],
    /// Indices of its DC and AC tables.
    pub(super) tables: (usize, usize),
}

/// The structure of a supported file.
pub(super) struct Plan {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One (gray) or three (luma, blue and red difference).
    pub(super) components: Vec<Component>,
    pub(super) dc: [Option<Huffman>; 4],
    pub(super) ac: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 without.
    pub(super) restart_interval: usize,
    pub(super) coded: Coded,
}

impl Plan {
    /// Reads all segments; `None` if the file is of another kind, or damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut plan = Plan {
            width: 0,
            height: 0,
            components: Vec::new(),
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart_interval: 0,
            coded: Coded::default(),
        };
        let mut steps = [const { None }; 4];
        let mut adobe_transform = None;
        let mut position = 2;
        loop {
            // Fill bytes and stray bytes are rare, and not supported here.
            let [0xff, marker] = *bytes.get(position..position + 2)? else { return None };
            let length = usize::from(u16::from_be_bytes([
                *bytes.get(position + 2)?,
                *bytes.get(position + 3)?,
            ]));
            let content = bytes.get(position + 4..position + 2 + length)?;
            position += 2 + length;
            match marker {
                0xdb => quantisation(content, &mut steps)?,
                0xc4 => plan.huffman(content)?,
                0xc0 | 0xc1 => plan.frame(content)?,
                0xdd => {
                    plan.restart_interval =
                        usize::from(u16::from_be_bytes([*content.first()?, *content.get(1)?]))
                }
                0xee if content.starts_with(b"Adobe") => adobe_transform = content.get(11).copied(),
                0xda => {
                    plan.scan(content)?;
                    break;
                }
                0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
        }
        for component in &mut plan.components {
            component.steps = steps.get(component.quantisation).copied().flatten()?;
        }
        let is_known = match plan.components.len() {
            1 => true,
            // Without Adobe's marker, component ids of 1, 2 and 3 (or 0, 1 and 2) mean YCbCr, as
            // JFIF specifies.
            3 => adobe_transform.map_or_else(
                || plan.components.iter().map(|c| c.id).is_sorted() && plan.components[0].id <= 1,
                |transform| transform == 1,
            ),
            _ => false,
        };
        plan.coded = Coded::read(bytes.get(position..)?)?;
        is_known.then_some(plan)
    }

    fn huffman(&mut self, mut content: &[u8]) -> Option<()> {
        while !content.is_empty() {
            let kind = content[0];
            let counts: &[u8; 16] = content.get(1..17)?.try_into().ok()?;
            let symbols = counts.iter().map(|count| usize::from(*count)).sum::<usize>();
            let table = Huffman::new(counts, content.get(17..17 + symbols)?)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15))? = Some(table);
            content = &content[17 + symbols..];
        }
        Some(())
    }

    fn frame(&mut self, content: &[u8]) -> Option<()> {
        let [8, h1, h0, w1, w0, count, components @ ..] = content else { return None };
        if !self.components.is_empty() || components.len() != usize::from(*count) * 3 {
            return None;
        }
        (self.width, self.height) = (
            usize::from(u16::from_be_bytes([*w1, *w0])),
            usize::from(u16::from_be_bytes([*h1, *h0])),
        );
        self.components = components
            .as_chunks::<3>()
            .0
            .iter()
            .map(|[id, sampling, quantisation]| Component {
                id: *id,
                sampling: (usize::from(sampling >> 4), usize::from(sampling & 15)),
                quantisation: usize::from(*quantisation),
                steps: [0.0; 64],
                tables: (0, 0),
            })
            .collect();
        if let [gray] = &mut self.components[..] {
            // The blocks of a single component are stored in rows, whatever its sampling factors
            // (T.81, A.2.2).
            gray.sampling = (1, 1);
        }
        let is_sampled_plainly = match &self.components[..] {
            [_] => true,
            [luma, blue, red] => {
                [1, 2].contains(&luma.sampling.0)
                    && [1, 2].contains(&luma.sampling.1)
                    && blue.sampling == (1, 1)
                    && red.sampling == (1, 1)
            }
            _ => false,
        };
        (is_sampled_plainly && self.width > 0 && self.height > 0).then_some(())
    }

    fn scan(&mut self, content: &[u8]) -> Option<()> {
        let count = self.components.len();
        let (first, rest) = content.split_first()?;
        if count == 0
            || usize::from(*first) != count
            || rest.len() != count * 2 + 3
            || rest[count * 2..] != [0, 63, 0]
        {
            return None;
        }
        for (component, [id, tables]) in self.components.iter_mut().zip(rest.as_chunks::<2>().0) {
            component.tables = (usize::from(tables >> 4), usize::from(tables & 15));
            if component.id != *id
                || self.dc.get(component.tables.0)?.is_none()
                || self.ac.get(component.tables.1)?.is_none()
            {
                return None;
            }
        }
        Some(())
    }
}

fn quantisation(mut content: &[u8], steps: &mut [Option<[f32; 64]>; 4]) -> Option<()> {
    while !content.is_empty() {
        let (wide, number) = (content[0] >> 4 != 0, usize::from(content[0] & 15));
        let bytes = if wide { 128 } else { 64 };
        let values = content.get(1..1 + bytes)?;
        let step = |k: usize| {
            if wide {
                u16::from_be_bytes([values[2 * k], values[2 * k + 1]])
            } else {
                u16::from(values[k])
            }
        };
        *steps.get_mut(number)? = Some(std::array::from_fn(|k| f32::from(step(k))));
        content = &content[1 + bytes..];
    }
    Some(())
}
