-- Were the objects of each class found, confused with another class, misplaced or missed?
SELECT true_class_name, kind, COUNT(*) AS objects, AVG(iou) AS mean_iou
FROM matches
WHERE true_class_name IS NOT NULL
GROUP BY true_class_name, kind
ORDER BY true_class_name, objects DESC, kind;
