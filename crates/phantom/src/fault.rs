//! The faults that can be planted.

use ossify_contract::{Shape, Split};

/// One kind of fault of an image or its label file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each name says what is planted")]
pub enum Fault {
    ClassIsAName,
    ClassIsNegative,
    ClassHasAFraction,
    ClassUnknown,
    CoordinateIsNan,
    CoordinateIsInfinite,
    CoordinateHasAComma,
    ConfidenceColumn,
    OddCoordinate,
    TooFewCoordinates,
    Triangle,
    VertexOutOfRange,
    PixelBox,
    VertexClamped,
    BoxPastTheEdge,
    BoxWithoutWidth,
    FlatPolygon,
    CrossingEdges,
    SameLineTwice,
    SameBoxTwice,
    MixedShapes,
    NotUtf8,
    ByteOrderMark,
    WindowsLineEnds,
    BlankLines,
    SameBoxOtherPolygon,
    LabelMissing,
    ImageMissing,
    ImageCutShort,
    ImageTooSmall,
    StemCollision,
}

use Fault::*;

const TRAIN: &[Fault] = &[
    ClassIsAName,
    ClassIsNegative,
    ClassUnknown,
    CoordinateIsNan,
    ConfidenceColumn,
    OddCoordinate,
    VertexOutOfRange,
    VertexClamped,
    BoxPastTheEdge,
    BoxWithoutWidth,
    FlatPolygon,
    CrossingEdges,
    SameLineTwice,
    MixedShapes,
    NotUtf8,
    ByteOrderMark,
    WindowsLineEnds,
    SameBoxOtherPolygon,
    LabelMissing,
    ImageMissing,
    ImageCutShort,
    ImageTooSmall,
    StemCollision,
];
const VALID: &[Fault] = &[Triangle, CoordinateIsInfinite, TooFewCoordinates, ClassHasAFraction];
const TEST: &[Fault] = &[CoordinateHasAComma, SameBoxTwice, PixelBox, BlankLines];

impl Fault {
    /// What is planted in a split, in order. The faults of valid do not change its objects.
    pub fn of_split(split: Split) -> &'static [Fault] {
        match split {
            Split::Train => TRAIN,
            Split::Valid => VALID,
            Split::Test => TEST,
        }
    }

    /// The shape that the file's labels must have, if the fault needs one.
    pub fn shape(self) -> Option<Shape> {
        match self {
            ConfidenceColumn | TooFewCoordinates | PixelBox | BoxPastTheEdge | BoxWithoutWidth
            | SameBoxTwice | CoordinateHasAComma => Some(Shape::Box),
            OddCoordinate | Triangle | VertexOutOfRange | VertexClamped | FlatPolygon
            | CrossingEdges | MixedShapes | SameBoxOtherPolygon => Some(Shape::Polygon),
            _ => None,
        }
    }

    /// Whether it needs real pictures.
    pub fn needs_pictures(self) -> bool {
        matches!(self, ImageCutShort | ImageTooSmall)
    }

    /// Whether it only looks odd, so that nothing should be found.
    pub fn is_innocent(self) -> bool {
        matches!(self, WindowsLineEnds | BlankLines | SameBoxOtherPolygon | Triangle)
    }

    /// Its name in `planted.json`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }
}
