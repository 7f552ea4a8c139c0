//! Seven parts of the body, drawn so that people can tell them apart.

use crate::dice::{Dice, value_noise};
use crate::draw::{Bone, Chain, Plate, chain};
use crate::fracture::fracture;
use crate::geometry::{Point, at};

/// The part of the body that a picture shows. Its class is the fracture of that part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anatomy {
    /// Upper arm and forearm at an angle, hinged.
    Elbow,
    /// Several rays of phalanges.
    Fingers,
    /// Two long bones side by side.
    Forearm,
    /// An upper arm with a metal plate: the rare class.
    PlatedHumerus,
    /// One thick shaft with a round head.
    Humerus,
    /// Head and socket, blade, collar bone, ribs.
    Shoulder,
    /// Eight small bones between the forearm's ends and the metacarpals.
    Wrist,
}

impl Anatomy {
    /// All, in the order of their class ids.
    pub const ALL: [Anatomy; 7] = [
        Anatomy::Elbow,
        Anatomy::Fingers,
        Anatomy::Forearm,
        Anatomy::PlatedHumerus,
        Anatomy::Humerus,
        Anatomy::Shoulder,
        Anatomy::Wrist,
    ];

    /// Class id in the label files.
    pub fn class_id(self) -> usize {
        self as usize
    }

    /// Name of the class in `data.yaml`.
    pub fn class_name(self) -> &'static str {
        match self {
            Anatomy::Elbow => "elbow positive",
            Anatomy::Fingers => "fingers positive",
            Anatomy::Forearm => "forearm fracture",
            Anatomy::PlatedHumerus => "humerus fracture",
            Anatomy::Humerus => "humerus",
            Anatomy::Shoulder => "shoulder fracture",
            Anatomy::Wrist => "wrist positive",
        }
    }

    /// Start of the file names.
    pub fn stem(self) -> &'static str {
        match self {
            Anatomy::Elbow => "elbow",
            Anatomy::Fingers => "fingers",
            Anatomy::Forearm => "forearm",
            Anatomy::PlatedHumerus => "plated-humerus",
            Anatomy::Humerus => "humerus",
            Anatomy::Shoulder => "shoulder",
            Anatomy::Wrist => "wrist",
        }
    }
}

/// Everything in front of the film, centred on the origin. The unit is about half of the picture's
/// shorter side.
#[derive(Debug, Default)]
pub struct Scene {
    /// Bones and fragments.
    pub bones: Vec<Bone>,
    /// Flat bones.
    pub plates: Vec<Plate>,
    /// Limbs and trunk.
    pub tissue: Vec<Chain>,
    /// Cavities, each with the share of tissue that it removes.
    pub air: Vec<(Chain, f32)>,
    /// Implants.
    pub metal: Vec<Chain>,
    /// Outlines of the fractures.
    pub fractures: Vec<Vec<Point>>,
    /// Where bones may break: the bone, and a range in shares of its length.
    breakable: Vec<(usize, f32, f32)>,
}

impl Scene {
    /// One patient's limb with up to `fractures` fractures, or as many as the anatomy has room for.
    pub fn new(anatomy: Anatomy, fractures: usize, dice: &mut Dice) -> Self {
        let mut scene = Scene::default();
        match anatomy {
            Anatomy::Elbow => scene.elbow(dice),
            Anatomy::Fingers => scene.fingers(dice),
            Anatomy::Forearm => scene.forearm(dice),
            Anatomy::PlatedHumerus => scene.plated_humerus(),
            Anatomy::Humerus => scene.humerus(),
            Anatomy::Shoulder => scene.shoulder(),
            Anatomy::Wrist => scene.wrist(),
        }
        scene.personalise(dice);
        scene.fracture(fractures, dice);
        scene
    }

    fn breakable(&mut self, bone: Bone, low: f32, high: f32) {
        self.breakable.push((self.bones.len(), low, high));
        self.bones.push(bone);
    }

    fn elbow(&mut self, dice: &mut Dice) {
        let flexion = dice.within(0.9, 1.75);
        let along = at(flexion.sin(), flexion.cos());
        let back = at(-flexion.cos(), flexion.sin());
        let placed = |a: f32, b: f32, radius: f32| {
            let point = along * a + back * b;
            (point.x, point.y, radius)
        };
        let humerus = Bone::new(&[
            (-0.12, -1.75, 0.15),
            (-0.06, -0.9, 0.14),
            (-0.02, -0.45, 0.145),
            (0.0, -0.2, 0.19),
            (0.02, -0.02, 0.17),
        ]);
        self.breakable(humerus.with(&[(0.0, 0.0, 0.19), (0.07, 0.03, 0.17)]), 0.68, 0.84);
        let ulna = [
            placed(-0.3, 0.16, 0.1),
            placed(-0.1, 0.27, 0.115),
            placed(0.15, 0.21, 0.12),
            placed(0.6, 0.18, 0.09),
            placed(1.8, 0.2, 0.075),
        ];
        self.breakable(Bone::new(&ulna), 0.05, 0.4);
        let radius = [
            placed(0.26, -0.07, 0.125),
            placed(0.33, -0.07, 0.12),
            placed(0.44, -0.05, 0.085),
            placed(0.65, -0.06, 0.1),
            placed(1.8, -0.1, 0.085),
        ];
        self.breakable(Bone::new(&radius), 0.1, 0.3);
        self.tissue.push(chain(&[(-0.15, -1.9, 0.42), (-0.05, -0.8, 0.4), (0.0, 0.0, 0.36)]));
        self.tissue.push(chain(&[
            placed(-0.1, 0.08, 0.36),
            placed(0.6, 0.05, 0.37),
            placed(1.9, 0.05, 0.28),
        ]));
    }

    fn fingers(&mut self, dice: &mut Dice) {
        let rays = 3 + dice.below(3);
        let spread = dice.within(0.03, 0.1);
        let first_is_short = dice.chance(0.5);
        for ray in 0..rays {
            let offset = ray as f32 - 0.5 * (rays as f32 - 1.0);
            let size =
                1.06 - 0.05 * offset.abs() - if ray == 0 && first_is_short { 0.14 } else { 0.0 };
            let up = at((offset * spread).sin(), -(offset * spread).cos());
            let base = at(offset * 0.37, 0.66 + 0.05 * offset * offset);
            let bend = dice.within(-0.05, 0.05);
            let mut joint = base;
            let placed =
                |start: Point, direction: Point, shares: &[(f32, f32)]| -> Vec<(f32, f32, f32)> {
                    shares
                        .iter()
                        .map(|&(length, radius)| {
                            let point = start + direction * length;
                            (point.x, point.y, radius * size)
                        })
                        .collect()
                };
            let knuckle =
                placed(base, up * -1.0, &[(0.07, 0.1), (0.15, 0.105), (0.4, 0.07), (1.2, 0.08)]);
            self.breakable(Bone::new(&knuckle), 0.18, 0.3);
            let mut direction = up;
            for (length, width) in [(0.66, 1.0), (0.42, 0.86), (0.28, 0.72)] {
                let length = length * size;
                direction = direction.turned(bend);
                let shaft = [
                    (0.06, 0.095 * width),
                    (0.16, 0.075 * width),
                    (0.5, 0.058 * width),
                    (0.8, 0.066 * width),
                    (0.93, 0.075 * width),
                ];
                let shaft: Vec<(f32, f32)> =
                    shaft.iter().map(|&(share, radius)| (share * length, radius)).collect();
                self.breakable(Bone::new(&placed(joint, direction, &shaft)), 0.3, 0.72);
                joint = joint + direction * (length + 0.045);
            }
            let tip = joint - direction * 0.02;
            self.tissue.push(chain(&[
                (base.x, base.y, 0.19 * size),
                ((base.x + tip.x) / 2.0, (base.y + tip.y) / 2.0, 0.165 * size),
                (tip.x, tip.y, 0.12 * size),
            ]));
        }
        let half = 0.185 * (rays as f32 - 1.0);
        self.tissue.push(chain(&[(-half, 1.15, 0.4), (half, 1.15, 0.4)]));
        self.tissue.push(chain(&[(-half, 1.7, 0.45), (half, 1.7, 0.45)]));
    }

    fn forearm(&mut self, dice: &mut Dice) {
        let bow = dice.within(0.0, 0.08);
        let radius = [
            (0.1, -1.27, 0.13),
            (0.11, -1.15, 0.09),
            (0.18 + bow, -0.45, 0.105),
            (0.22 + bow, 0.3, 0.1),
            (0.2, 0.95, 0.125),
            (0.18, 1.2, 0.19),
        ];
        self.breakable(Bone::new(&radius), 0.25, 0.82);
        let ulna = [
            (-0.16, -1.5, 0.14),
            (-0.14, -1.2, 0.16),
            (-0.15, -0.5, 0.11),
            (-0.16, 0.4, 0.09),
            (-0.19, 1.05, 0.075),
            (-0.19, 1.22, 0.09),
        ];
        self.breakable(Bone::new(&ulna), 0.3, 0.85);
        self.bones.push(
            Bone::new(&[(0.0, -2.4, 0.16), (0.0, -1.75, 0.17), (-0.02, -1.52, 0.24)])
                .with(&[(-0.15, -1.5, 0.14), (0.16, -1.48, 0.15)]),
        );
        for (x, y) in [(0.24, 1.5), (0.06, 1.52), (-0.12, 1.48), (0.2, 1.72), (0.0, 1.72)] {
            self.bones.push(Bone::new(&[(x, y, 0.095), (x + 0.02, y + 0.02, 0.09)]).spongy());
        }
        self.tissue.push(chain(&[
            (0.0, -2.0, 0.42),
            (0.0, -1.2, 0.46),
            (0.02, -0.5, 0.47),
            (0.02, 0.6, 0.4),
            (0.0, 1.3, 0.36),
            (0.0, 2.0, 0.42),
        ]));
    }

    fn humerus(&mut self) {
        let shaft = Bone::new(&[
            (0.06, -1.02, 0.22),
            (0.0, -0.7, 0.175),
            (-0.03, -0.3, 0.15),
            (-0.02, 0.3, 0.14),
            (0.0, 0.85, 0.155),
            (0.0, 1.2, 0.21),
        ]);
        let shaft = shaft
            .with(&[(0.15, -1.05, 0.25)])
            .with(&[(-0.1, -1.0, 0.17), (-0.06, -0.8, 0.15)])
            .with(&[(-0.17, 1.32, 0.12), (0.16, 1.32, 0.14)]);
        self.breakable(shaft, 0.16, 0.82);
        self.bones.push(Bone::new(&[(0.06, 1.62, 0.11), (0.09, 1.8, 0.1), (0.12, 2.4, 0.09)]));
        self.bones.push(Bone::new(&[(-0.13, 1.55, 0.14), (-0.12, 1.8, 0.13), (-0.1, 2.4, 0.1)]));
        self.tissue.push(chain(&[
            (0.05, -1.3, 0.62),
            (0.0, -0.5, 0.56),
            (0.0, 0.5, 0.46),
            (0.0, 1.3, 0.42),
            (0.0, 2.2, 0.4),
        ]));
    }

    fn plated_humerus(&mut self) {
        self.humerus();
        self.metal.push(chain(&[(0.17, -0.62, 0.045), (0.15, 0.0, 0.045), (0.16, 0.62, 0.045)]));
        for y in [-0.5_f32, -0.32, -0.14, 0.16, 0.34, 0.52] {
            self.metal.push(chain(&[(0.2, y, 0.022), (-0.2, y + 0.02, 0.02)]));
        }
        self.breakable = vec![(0, 0.3, 0.72)];
    }

    fn shoulder(&mut self) {
        for rib in 0..6 {
            let y = -0.5 + 0.27 * rib as f32;
            let x = 0.36 - 0.03 * rib as f32;
            let arc = [
                (1.6, y - 0.15, 0.045),
                (1.0, y - 0.22, 0.045),
                (x + 0.17, y, 0.045),
                (x, y + 0.25, 0.045),
                (x + 0.25, y + 0.5, 0.045),
                (1.2, y + 0.78, 0.04),
            ];
            self.bones.push(Bone::new(&arc).with_density(0.62));
        }
        let blade = [
            at(-0.12, -0.26),
            at(-0.12, 0.02),
            at(0.02, 0.35),
            at(0.22, 0.98),
            at(0.36, 0.9),
            at(0.52, 0.15),
            at(0.46, -0.36),
            at(0.1, -0.26),
        ];
        self.plates.push(Plate { outline: blade.to_vec(), rounding: 0.04, density: 0.34 });
        self.bones.push(
            Bone::new(&[
                (0.46, -0.2, 0.035),
                (0.1, -0.42, 0.05),
                (-0.2, -0.56, 0.065),
                (-0.46, -0.54, 0.085),
            ])
            .with_density(0.8),
        );
        self.bones.push(
            Bone::new(&[(0.0, -0.28, 0.06), (-0.12, -0.42, 0.06), (-0.22, -0.34, 0.055)])
                .with_density(0.8),
        );
        let humerus = Bone::new(&[
            (-0.47, -0.12, 0.21),
            (-0.62, 0.15, 0.19),
            (-0.7, 0.5, 0.15),
            (-0.74, 1.0, 0.14),
            (-0.78, 1.9, 0.14),
        ]);
        let humerus =
            humerus.with(&[(-0.42, -0.14, 0.25)]).with(&[(-0.65, -0.1, 0.17), (-0.64, 0.05, 0.16)]);
        self.breakable(humerus, 0.15, 0.34);
        let clavicle = [
            (-0.4, -0.66, 0.065),
            (-0.12, -0.76, 0.06),
            (0.2, -0.76, 0.062),
            (0.6, -0.64, 0.066),
            (1.0, -0.56, 0.1),
        ];
        self.breakable(Bone::new(&clavicle), 0.25, 0.7);
        self.tissue.push(chain(&[(1.1, 0.4, 1.1), (1.1, 2.0, 1.1)]));
        self.tissue.push(chain(&[(0.7, -0.3, 0.6), (-0.1, -0.25, 0.62), (-0.45, 0.0, 0.56)]));
        self.tissue.push(chain(&[(-0.5, 0.0, 0.55), (-0.7, 0.7, 0.45), (-0.8, 2.0, 0.42)]));
        self.tissue.push(chain(&[(1.0, -0.8, 0.4), (1.25, -1.6, 0.4)]));
        self.air.push((chain(&[(0.95, 0.05, 0.42), (0.9, 0.6, 0.5), (0.95, 1.3, 0.55)]), 0.62));
    }

    fn wrist(&mut self) {
        let radius = Bone::new(&[
            (0.14, 2.2, 0.12),
            (0.15, 1.2, 0.12),
            (0.16, 0.8, 0.145),
            (0.16, 0.55, 0.19),
            (0.16, 0.45, 0.2),
        ]);
        self.breakable(radius.with(&[(0.28, 0.42, 0.11), (0.33, 0.33, 0.07)]), 0.66, 0.86);
        let ulna = Bone::new(&[
            (-0.2, 2.2, 0.1),
            (-0.21, 1.2, 0.09),
            (-0.22, 0.7, 0.085),
            (-0.23, 0.48, 0.1),
        ]);
        self.breakable(ulna.with(&[(-0.29, 0.42, 0.05), (-0.32, 0.33, 0.03)]), 0.66, 0.9);
        let carpals: [&[(f32, f32, f32)]; 8] = [
            &[(0.3, 0.08, 0.085), (0.2, 0.16, 0.095)],
            &[(0.03, 0.17, 0.1), (0.04, 0.12, 0.1)],
            &[(-0.16, 0.09, 0.095), (-0.19, 0.06, 0.085)],
            &[(-0.22, 0.12, 0.06)],
            &[(0.38, -0.12, 0.095), (0.4, -0.16, 0.085)],
            &[(0.22, -0.15, 0.08), (0.22, -0.19, 0.08)],
            &[(0.06, -0.2, 0.095), (0.06, -0.04, 0.085)],
            &[(-0.13, -0.18, 0.1), (-0.1, -0.1, 0.08)],
        ];
        for carpal in carpals {
            self.bones.push(Bone::new(carpal).spongy());
        }
        let metacarpals = [
            ((0.5, -0.24), (0.86, -0.62)),
            ((0.26, -0.36), (0.42, -1.12)),
            ((0.08, -0.4), (0.13, -1.2)),
            ((-0.08, -0.37), (-0.15, -1.12)),
            ((-0.22, -0.32), (-0.42, -0.98)),
        ];
        for (i, ((x, y), (tip_x, tip_y))) in metacarpals.into_iter().enumerate() {
            let (base, tip) = (at(x, y), at(tip_x, tip_y));
            let placed = |share: f32, radius: f32| {
                let point = base.towards(tip, share);
                (point.x, point.y, radius)
            };
            let shaft = Bone::new(&[
                placed(0.0, 0.09),
                placed(0.15, 0.08),
                placed(0.5, 0.055),
                placed(0.85, 0.075),
                placed(0.97, 0.095),
            ]);
            if i == 4 {
                self.breakable(shaft, 0.55, 0.75)
            } else {
                self.bones.push(shaft)
            }
            let up = (tip - base).unit();
            let (from, to) = (tip + up * 0.16, tip + up * 0.75);
            self.bones.push(Bone::new(&[
                (from.x, from.y, 0.09),
                (from.x + up.x * 0.25, from.y + up.y * 0.25, 0.06),
                (to.x, to.y, 0.075),
            ]));
        }
        self.tissue.push(chain(&[
            (-0.02, 2.3, 0.42),
            (-0.02, 1.2, 0.41),
            (-0.02, 0.6, 0.42),
            (0.0, 0.1, 0.46),
            (0.0, -0.4, 0.52),
            (0.0, -0.9, 0.58),
            (0.0, -1.8, 0.62),
        ]));
        self.tissue.push(chain(&[(0.3, -0.1, 0.24), (0.7, -0.5, 0.22), (1.1, -0.95, 0.17)]));
    }

    /// Stretches, thickens and bends everything slightly, so that no two patients are alike.
    fn personalise(&mut self, dice: &mut Dice) {
        let (wide, long) = (dice.within(0.92, 1.1), dice.within(0.95, 1.06));
        let (stout, fleshy) = (dice.within(0.86, 1.14), dice.within(0.9, 1.2));
        let seed = dice.bits() as u32;
        let bend = dice.within(0.03, 0.07);
        let warp = |point: Point| {
            let (u, v) = (point.x * 1.4 + 7.0, point.y * 1.4 + 7.0);
            at(
                point.x * wide + bend * value_noise(u, v, seed),
                point.y * long + bend * value_noise(u, v, seed ^ 0x5555),
            )
        };
        let change = |chain: &mut Chain, thicker: f32| {
            for node in chain {
                node.center = warp(node.center);
                node.radius *= thicker;
            }
        };
        for bone in &mut self.bones {
            bone.cortex *= stout * dice.within(0.8, 1.2);
            bone.density *= dice.within(0.92, 1.08);
            bone.chains.iter_mut().for_each(|chain| change(chain, stout));
        }
        for plate in &mut self.plates {
            plate.outline.iter_mut().for_each(|corner| *corner = warp(*corner));
        }
        self.metal.iter_mut().for_each(|chain| change(chain, 1.0));
        self.tissue.iter_mut().for_each(|chain| change(chain, fleshy));
        self.air.iter_mut().for_each(|(chain, _)| change(chain, 1.0));
    }

    fn fracture(&mut self, fractures: usize, dice: &mut Dice) {
        let mut candidates = std::mem::take(&mut self.breakable);
        dice.shuffle(&mut candidates);
        for (bone, low, high) in candidates.into_iter().take(fractures) {
            let corners = if dice.chance(0.7) { 4 } else { 5 + dice.below(5) };
            let share = dice.within(low, high);
            let Some(whole) = self.bones.get(bone) else { continue };
            if let Some(broken) = fracture(whole, share, corners, dice) {
                let mut fragments = broken.fragments.into_iter();
                if let Some(first) = fragments.next() {
                    self.bones[bone] = first;
                }
                self.bones.extend(fragments);
                self.fractures.push(broken.outline);
            }
        }
    }
}
