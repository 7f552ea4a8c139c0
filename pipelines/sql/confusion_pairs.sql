-- Which classes are confused with which others, how often, and with what confidence?
SELECT true_class_name, predicted_class_name, COUNT(*) AS predictions,
       AVG(score) AS mean_score, AVG(iou) AS mean_iou
FROM matches
WHERE kind IN ('class_error', 'both')
GROUP BY true_class_name, predicted_class_name
ORDER BY predictions DESC, true_class_name, predicted_class_name;
