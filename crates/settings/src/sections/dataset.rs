use crate::choice::choice;
use crate::ranges::class_names;
use crate::schema::table;

choice! {
    /// What an image without a label file is.
    MissingLabels {
        /// Nobody said what is on it: kept out of training and scores.
        Unlabelled = "unlabelled",
        /// There is nothing to find on it.
        Background = "background",
    }
}

table! {
    /// The dataset.
    DatasetSettings {
        /// Folder of the dataset.
        path: String [Nothing] = "data/datasets/phantom".into();
        /// Class names in order of their ids; replaces those of data.yaml. Empty: data.yaml's.
        class_names: Vec<String> [Output] = Vec::new() => |v| class_names(v);
        /// What an image without a label file is: "unlabelled" or "background".
        missing_labels: MissingLabels [Output] = MissingLabels::Unlabelled;
        /// Whether paths and links may lead out of the dataset's folder.
        follow_links: bool [Output] = false;
        /// Doubts about the dataset that its readers should know; shown with the tables.
        remarks: Vec<String> [Output] = Vec::new();
    }
}
